"""AnisoAlign: bounded anisotropic correction under a phase prior of the target (arXiv 2605.07825, section 4)."""

from .align import AnisoAlign

__all__ = ["AnisoAlign"]
