"""Encoders: one file a library. A new encoder is one file and one import line here."""

from . import hf, open_clip, python  # noqa: F401  (importing registers the encoder)
from .base import ENCODERS, Encoder, ImageProcessor, load_encoder

__all__ = ["ENCODERS", "Encoder", "ImageProcessor", "load_encoder"]
