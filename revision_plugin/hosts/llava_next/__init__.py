"""LLaVA-NeXT as host."""

from .host import LlavaNextHost

__all__ = ["LlavaNextHost"]
