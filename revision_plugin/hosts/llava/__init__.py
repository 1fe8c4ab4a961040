"""LLaVA 1.2.2 as a host."""

from .host import LlavaHost

__all__ = ["LlavaHost"]
