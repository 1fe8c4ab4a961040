"""For LLaVA-NeXT, whose trainer was written for transformers 4.40."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from typing import Any

import transformers


def import_without_trl(present: Any) -> Any:
    """Import LLaVA-NeXT's training with stand-ins for the two names of trl that only its preference training uses."""
    stand_ins: dict[str, dict[str, Any]] = {
        "trl": {},
        "trl.trainer": {"DPOTrainer": type("DPOTrainer", (transformers.Trainer,), {})},
        "trl.trainer.utils": {"DPODataCollatorWithPadding": type("DPODataCollatorWithPadding", (), {})},
    }
    before = {name: sys.modules.get(name) for name in stand_ins}
    for name, content in stand_ins.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        module.__dict__.update(content, __path__=[])
        sys.modules[name] = module
    try:
        return importlib.import_module("llava.train.train")
    finally:
        for name, earlier in before.items():
            del sys.modules[name]
            if earlier is not None:
                sys.modules[name] = earlier


def trainers_training_loop(present: Any) -> Any:
    return transformers.Trainer._inner_training_loop


def trainers_accelerator(present: Any) -> Any:
    return transformers.Trainer.create_accelerator_and_postprocess


def trainers_data_loader(present: Any) -> Any:
    return transformers.Trainer.get_train_dataloader
