"""For DeepSpeed's checkpoints of trainings that leave most of a model frozen."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


class TrainedPartsOnly:
    """A DeepSpeed engine whose checkpoints leave out frozen parameters; in all else the engine itself."""

    def __init__(self, engine: Any):
        self._engine = engine

    def save_checkpoint(self, *arguments, **keywords):
        return self._engine.save_checkpoint(*arguments, **{**keywords, "exclude_frozen_parameters": True})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def partial_loader(original: Callable) -> Callable:
    """transformers' `deepspeed_load_checkpoint` for checkpoints that leave out frozen parameters."""

    @functools.wraps(original)
    def deepspeed_load_checkpoint(engine, checkpoint_path, load_module_strict=True):
        frozen = any(not parameter.requires_grad for parameter in engine.module.parameters())
        return original(engine, checkpoint_path, load_module_strict=load_module_strict and not frozen)

    return deepspeed_load_checkpoint
