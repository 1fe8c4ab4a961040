"""For machines without a GPU."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch


def only_with_a_gpu(original: Callable) -> Callable:
    """`torch.cuda.synchronize` that does nothing where there is no GPU."""

    @functools.wraps(original)
    def synchronize(device=None):
        if torch.cuda.is_available():
            original(device)

    return synchronize
