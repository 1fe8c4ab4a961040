"""Scoring trained checkpoints: the lmms-eval model, runs and tables; `score` says what one reply is worth."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .benchmarks import score

__all__ = ["score"]


def __getattr__(name: str):
    if name == "score":  # lazy: lmms-eval imports this package to find the model, long before there are datasets
        return importlib.import_module(".benchmarks", __name__).score
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
