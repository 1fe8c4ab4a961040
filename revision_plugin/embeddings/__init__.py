"""Embeddings on disk and in memory: stores, their rows and moments, and what fills stores."""
