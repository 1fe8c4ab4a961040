"""Shim for DeepSpeed on several CPU processes."""

from __future__ import annotations

import functools
import os

from .base import Patch, require


def _cpu_backend() -> None:
    from accelerate.state import PartialState

    original = require(PartialState, "__init__", "accelerate.state.PartialState.__init__")

    @functools.wraps(original)
    def __init__(self, cpu=False, **kwargs):
        import torch

        if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" and not torch.cuda.is_available() and not cpu:
            kwargs["backend"] = kwargs.get("backend") or "gloo"
        original(self, cpu, **kwargs)

    PartialState.__init__ = __init__


PATCHES = [
    Patch(
        "accelerate.state.PartialState.__init__",
        "accelerate 1.x",
        "under DeepSpeed without CUDA accelerate finds no backend and believes in a single process",
        "none known; deepspeedai/DeepSpeed#943 is related",
        _cpu_backend,
    )
]
