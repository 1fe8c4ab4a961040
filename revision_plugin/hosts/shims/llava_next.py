"""Shims for LLaVA-NeXT, whose trainer was written for transformers 4.40."""

from __future__ import annotations

import importlib.machinery
import sys
import types

from .base import Patch, require

HEAD_PRUNING = ("apply_chunking_to_forward", "find_pruneable_heads_and_indices", "prune_linear_layer")


def _moved_functions() -> None:
    import transformers.modeling_utils as models
    import transformers.pytorch_utils as utils

    for name in HEAD_PRUNING:
        if not hasattr(models, name):
            setattr(models, name, require(utils, name, f"transformers.pytorch_utils.{name}"))


def _accumulation_plugin() -> None:
    import accelerate.utils
    import transformers.trainer as trainer

    if not hasattr(trainer, "GradientAccumulationPlugin"):
        trainer.GradientAccumulationPlugin = accelerate.utils.GradientAccumulationPlugin


def _import_without_trl() -> None:
    """Import LLaVA-NeXT's training with stand-ins for the two names of trl that only its preference training uses."""
    import transformers

    stand_ins = {
        "trl": {},
        "trl.trainer": {"DPOTrainer": type("DPOTrainer", (transformers.Trainer,), {})},
        "trl.trainer.utils": {"DPODataCollatorWithPadding": type("DPODataCollatorWithPadding", (), {})},
    }
    before = {name: sys.modules.get(name) for name in stand_ins}
    for name, content in stand_ins.items():
        module = types.ModuleType(name)
        module.__spec__, module.__path__ = importlib.machinery.ModuleSpec(name, None, is_package=True), []
        module.__dict__.update(content)
        sys.modules[name] = module
    try:
        import llava.train.train  # noqa: F401
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def _trainers_own(name: str):
    def apply() -> None:
        from llava.train.llava_trainer import LLaVATrainer

        if name in vars(LLaVATrainer):
            delattr(LLaVATrainer, name)

    return apply


OVERRIDES = {
    "_inner_training_loop": "a copied training loop with names that it does not import",
    "create_accelerator_and_postprocess": "reads arguments that Trainer no longer has",
    "get_train_dataloader": "its workers are seeded through a function that now takes more arguments",
}
BEFORE_LLAVA = [
    Patch("transformers.modeling_utils.apply_chunking_to_forward", "transformers >= 4.50",
          "the Q-Former imports it, and two more, from where they no longer are", "none known", _moved_functions),
    Patch("transformers.trainer.GradientAccumulationPlugin", "transformers >= 4.50",
          "llava.train.llava_trainer imports the name from there", "none known", _accumulation_plugin),
    Patch("trl.trainer.DPOTrainer", "all", "llava.train imports trl, which nothing here uses", "none known", _import_without_trl),
]  # fmt: skip
AFTER_LLAVA = [
    Patch(f"llava.train.llava_trainer.LLaVATrainer.{name}", "all", f"{reason}; Trainer's own takes its place",
          "none known", _trainers_own(name))
    for name, reason in OVERRIDES.items()
]  # fmt: skip
