"""Text-only pretraining for LLaVA through modality-gap alignment (ReAlign, ReVision)."""

__version__ = "0.1.0"
