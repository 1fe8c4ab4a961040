"""Contrastive pretraining of dual encoders through open_clip, watched by the gap monitor."""
