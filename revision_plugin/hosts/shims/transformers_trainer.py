"""Shims for LLaVA 1.2.2's trainer on today's transformers.Trainer."""

from __future__ import annotations

import functools

from .base import Patch, require


def _layernorm_name() -> None:
    import transformers.pytorch_utils as utils
    import transformers.trainer as trainer

    layers = require(utils, "ALL_LAYERNORM_LAYERS", "transformers.pytorch_utils.ALL_LAYERNORM_LAYERS")
    if not hasattr(trainer, "ALL_LAYERNORM_LAYERS"):
        trainer.ALL_LAYERNORM_LAYERS = layers


def _parameter_names() -> None:
    import transformers.trainer as trainer
    import transformers.trainer_pt_utils as utils

    names = require(utils, "get_parameter_names", "transformers.trainer_pt_utils.get_parameter_names")
    if not hasattr(trainer, "get_parameter_names"):
        trainer.get_parameter_names = names


BEFORE_LLAVA = [
    Patch(
        "transformers.trainer.ALL_LAYERNORM_LAYERS",
        "transformers >= 4.53",
        "llava.train.llava_trainer imports the name from a module that no longer has it",
        "urchade/GLiNER#273, caused by huggingface/transformers#38922",
        _layernorm_name,
    ),
    Patch(
        "transformers.trainer.get_parameter_names",
        "transformers >= 5",
        "llava.train.llava_trainer imports the name from a module that no longer has it",
        "urchade/GLiNER#273 (the same kind of move)",
        _parameter_names,
    ),
]


def _train_sampler() -> None:
    from llava.train.llava_trainer import LLaVATrainer

    original = require(LLaVATrainer, "_get_train_sampler", "llava.train.llava_trainer.LLaVATrainer._get_train_sampler")
    LLaVATrainer._get_train_sampler = lambda self, train_dataset=None: original(self)


def _processing_class() -> None:
    from llava.train.llava_trainer import LLaVATrainer

    original = require(LLaVATrainer, "__init__", "llava.train.llava_trainer.LLaVATrainer.__init__")

    @functools.wraps(original)
    def __init__(self, *args, **kwargs):
        if "tokenizer" in kwargs:
            kwargs["processing_class"] = kwargs.pop("tokenizer")
        original(self, *args, **kwargs)

    LLaVATrainer.__init__ = __init__


def saves_only_projector(args) -> bool:
    """Whether the host's trainer writes the projector alone to a checkpoint: its own rule where it has one (LLaVA-NeXT)."""
    from llava.train import llava_trainer

    own = getattr(llava_trainer, "should_only_save_mm_adapter", None)
    return bool(own(args) if own else getattr(args, "tune_mm_mlp_adapter", False))


def _save_checkpoint() -> None:
    from llava.train.llava_trainer import LLaVATrainer
    from transformers import Trainer

    original = require(LLaVATrainer, "_save_checkpoint", "llava.train.llava_trainer.LLaVATrainer._save_checkpoint")

    def _save_checkpoint(self, model, trial, metrics=None):
        save = original if saves_only_projector(self.args) else Trainer._save_checkpoint
        return save(self, model, trial)

    LLaVATrainer._save_checkpoint = _save_checkpoint


AFTER_LLAVA = [
    Patch(
        "llava.train.llava_trainer.LLaVATrainer.__init__",
        "transformers >= 4.46",
        "LLaVA passes 'tokenizer', which Trainer calls processing_class and since 5.0 takes by no other name",
        "huggingface/transformers#32385",
        _processing_class,
    ),
    Patch(
        "llava.train.llava_trainer.LLaVATrainer._get_train_sampler",
        "transformers >= 4.50",
        "Trainer now passes the dataset to _get_train_sampler; LLaVA's override takes no argument",
        "hiyouga/LlamaFactory#8207 (the same symptom)",
        _train_sampler,
    ),
    Patch(
        "llava.train.llava_trainer.LLaVATrainer._save_checkpoint",
        "transformers >= 4.47",
        "LLaVA passes on a 'metrics' argument that Trainer._save_checkpoint no longer takes",
        "maple-research-lab/TPDM#3 (the same symptom)",
        _save_checkpoint,
    ),
]
