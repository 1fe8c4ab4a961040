"""Trained models, aligners and stores as other people and other software take them."""
