"""Diagnostics of embedding clouds: numbers in, numbers out."""
