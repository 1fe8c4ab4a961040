"""Aligners: one file a method. A new method is one file and one import line here."""

from . import aniso, bc, c3, mean_shift, none, realign  # noqa: F401  (importing registers the method)
from .base import ALIGNERS, Aligner, load_aligner

__all__ = ["ALIGNERS", "Aligner", "load_aligner"]
