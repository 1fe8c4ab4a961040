"""The HF-native form: transformers' own LLaVA around the pseudo-vision tower, as a folder and as a host."""

from .host import HfHost

__all__ = ["HfHost"]
