"""What the hooks need of transformers' Trainer beyond the symbols that they rebind: a problem in words, or None."""

from __future__ import annotations

import inspect
from typing import Any

import transformers.trainer
from transformers import Trainer


def _takes(function: Any, *names: str) -> str | None:
    lacking = [name for name in names if name not in inspect.signature(function).parameters]
    return f"{function.__qualname__} no longer takes '{lacking[0]}'" if lacking else None


def trainer_starts(found: Any) -> str | None:
    """The tokenizer is handed on as `processing_class`."""
    return _takes(Trainer.__init__, "processing_class")


def trainer_saves(found: Any) -> str | None:
    """A checkpoint is saved by Trainer's own method, and older ones go by one of the two that the hooks know."""
    if not (hasattr(Trainer, "_rotate_checkpoints") or hasattr(transformers.trainer, "rotate_checkpoints")):
        return "neither Trainer._rotate_checkpoints nor transformers.trainer.rotate_checkpoints is there"
    return _takes(Trainer._save_checkpoint, "model", "trial")
