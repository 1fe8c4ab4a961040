"""Which device a process computes on."""

from __future__ import annotations

import torch

from ..errors import RevisionError
from .distributed import local_rank

KINDS = ("cpu", "cuda", "mps")


def choose_device(name: str | torch.device | None = None) -> torch.device:
    """The device called `name`, or that device; without a name the GPU that is there, else the CPU.

    `cuda` without a number is, under torchrun or DeepSpeed, each process' own GPU. Raises RevisionError for a name that
    torch does not know, or a GPU that is not there.
    """
    if name is None:  # several processes may share a GPU, or see only their own
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        name = f"cuda:{local_rank() % count}" if count else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RevisionError(f"--device {name}: {str(error).splitlines()[0]}") from None
    if device.type not in KINDS:
        raise RevisionError(f"--device {name}: nothing is computed there; use {', '.join(KINDS)}")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", local_rank())
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RevisionError(f"--device {name}: there is no such GPU ({torch.cuda.device_count()} found); use cpu")
    return device
