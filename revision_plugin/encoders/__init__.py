"""Encoders: one file a library. A new encoder is one file and one import line here."""

from . import hf, llm2clip, open_clip, python  # noqa: F401  (importing registers the encoder)
from .base import ENCODERS, Encoder, ImageProcessor, load_encoder
from .hub import allow_remote_code

__all__ = ["ENCODERS", "Encoder", "ImageProcessor", "allow_remote_code", "load_encoder"]
