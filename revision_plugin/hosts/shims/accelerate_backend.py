"""Shims for training in several processes, on CPUs too."""

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


def _cpu_device() -> None:
    from accelerate.state import PartialState

    original = require(PartialState, "set_device", "accelerate.state.PartialState.set_device")

    @functools.wraps(original)
    def set_device(self):
        import torch

        original(self)
        if self.device.type == "cpu":
            self.device = torch.device("cpu")

    PartialState.set_device = set_device


def _sampler_epoch() -> None:
    from accelerate.data_loader import DataLoaderShard

    original = require(DataLoaderShard, "set_epoch", "accelerate.data_loader.DataLoaderShard.set_epoch")

    @functools.wraps(original)
    def set_epoch(self, epoch):
        original(self, epoch)
        sampler = self.batch_sampler
        while sampler is not None:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
            sampler = getattr(sampler, "batch_sampler", None) or getattr(sampler, "sampler", None)

    DataLoaderShard.set_epoch = set_epoch


PATCHES = [
    Patch(
        "accelerate.state.PartialState.__init__",
        "accelerate 1.x",
        "under DeepSpeed without CUDA accelerate finds no backend and believes in a single process",
        "none known; deepspeedai/DeepSpeed#943 is related",
        _cpu_backend,
    ),
    Patch(
        "accelerate.state.PartialState.set_device",
        "accelerate 1.x",
        "several CPU processes get the devices cpu:0, cpu:1, ..., to which torch.load cannot map a resumed optimizer",
        "none known",
        _cpu_device,
    ),
    Patch(
        "accelerate.data_loader.DataLoaderShard.set_epoch",
        "transformers >= 5",
        "in several processes a resumed epoch's skipping hides the sampler from it, so another order than before is drawn",
        "none known",
        _sampler_epoch,
    ),
]
