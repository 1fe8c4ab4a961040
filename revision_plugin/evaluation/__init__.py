"""Scoring trained checkpoints: the lmms-eval model, runs and tables."""
