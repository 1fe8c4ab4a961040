"""Shim for LLaVA 1.2.2's last save on a machine without CUDA."""

from __future__ import annotations

import functools

from .base import Patch, require


def _save_without_cuda() -> None:
    import llava.train.train as train

    symbol = "llava.train.train.safe_save_model_for_hf_trainer"
    original = require(train, "safe_save_model_for_hf_trainer", symbol)

    @functools.wraps(original)
    def safe_save_model_for_hf_trainer(trainer, output_dir):
        import torch

        if torch.cuda.is_available():
            return original(trainer, output_dir)
        synchronize, torch.cuda.synchronize = torch.cuda.synchronize, lambda *arguments: None
        try:
            return original(trainer, output_dir)
        finally:
            torch.cuda.synchronize = synchronize

    train.safe_save_model_for_hf_trainer = safe_save_model_for_hf_trainer


AFTER_LLAVA = [
    Patch(
        "llava.train.train.safe_save_model_for_hf_trainer",
        "LLaVA 1.2.2",
        "under DeepSpeed it calls torch.cuda.synchronize, which fails after a whole training where there is no GPU",
        "none known",
        _save_without_cuda,
    ),
]
