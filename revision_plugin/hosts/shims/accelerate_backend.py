"""For training in several processes, on CPUs too."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import torch


def gloo_without_cuda(original: Callable) -> Callable:
    """`PartialState.__init__` that finds a backend for DeepSpeed's processes on CPUs."""

    @functools.wraps(original)
    def __init__(self, cpu=False, **kwargs):
        if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" and not torch.cuda.is_available() and not cpu:
            kwargs["backend"] = kwargs.get("backend") or "gloo"
        original(self, cpu, **kwargs)

    return __init__


def one_cpu_device(original: Callable) -> Callable:
    """`PartialState.set_device` that calls every process' CPU `cpu`."""

    @functools.wraps(original)
    def set_device(self):
        original(self)
        if self.device.type == "cpu":
            self.device = torch.device("cpu")

    return set_device


def epoch_for_hidden_samplers(original: Callable) -> Callable:
    """`DataLoaderShard.set_epoch` that reaches the sampler below a skipping batch sampler."""

    @functools.wraps(original)
    def set_epoch(self, epoch):
        original(self, epoch)
        sampler = self.batch_sampler
        while sampler is not None:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
            sampler = getattr(sampler, "batch_sampler", None) or getattr(sampler, "sampler", None)

    return set_epoch
