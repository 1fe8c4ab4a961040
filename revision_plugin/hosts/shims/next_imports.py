"""For LLaVA-NeXT, whose trainer was written for transformers 4.40."""

from __future__ import annotations

import dataclasses
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


def scaling_apart_from_theta(present: Any) -> Any:
    """`rope_scaling` of a config: LLaVA-NeXT sets it to None, which in transformers 5 clears all of the rotary
    embedding's parameters, its base with them. The base is kept.
    """

    def without_scaling(self, value: Any) -> None:
        theta = (self.rope_parameters or {}).get("rope_theta")
        kept = {"rope_type": "default"} | ({} if theta is None else {"rope_theta": theta})
        self.rope_parameters = kept if value is None else value

    return property(present.fget, without_scaling)


def arguments_of_old(original: type) -> type:
    """LLaVA-NeXT's TrainingArguments with the flag that its trainer asks for, where transformers has it no longer."""
    if "group_by_length" in {field.name for field in dataclasses.fields(original)}:
        return original
    made = dataclasses.make_dataclass("TrainingArguments", [("group_by_length", bool, False)], bases=(original,))
    made.__module__ = original.__module__  # where pickle looks for it
    return made


def trainers_training_loop(present: Any) -> Any:
    return transformers.Trainer._inner_training_loop


def trainers_accelerator(present: Any) -> Any:
    return transformers.Trainer.create_accelerator_and_postprocess


def trainers_data_loader(present: Any) -> Any:
    return transformers.Trainer.get_train_dataloader
