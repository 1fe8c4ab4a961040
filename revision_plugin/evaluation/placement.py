"""Which checkpoint is loaded, in how many bits and on which devices: checked before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import RevisionError
from ..hosts import find_host


def require_checkpoint(model: Path, base: str | None) -> None:
    """Raise RevisionError at once for what would fail after a harness' long start."""
    host = find_host(model=model)
    host.check()
    if not model.is_dir():
        raise RevisionError(f"{model}: no such checkpoint; give the --output_dir of a finished training")
    host.check_checkpoint(model, base)


def number_of_bits(four: bool, eight: bool) -> int | None:
    """4, 8, or None for a model as it is. Raises RevisionError for both."""
    if four and eight:
        raise RevisionError("a model loads in 4 bits or in 8, not in both; leave one out")
    return 4 if four else 8 if eight else None


def require_device_map(device_map: str | None, named: str | None, device: torch.device, processes: int) -> None:
    """Raise RevisionError unless the one model of one process can be shared by all GPUs (`device_map` "auto"), for
    which no device is `named`.
    """
    if device_map is None:
        return
    if device_map != "auto":
        raise RevisionError(f"device_map is 'auto', all GPUs, not '{device_map}'; one GPU is named by device")
    if device.type != "cuda":
        raise RevisionError(f"device_map=auto shares a model by GPUs, and this one is answering on {device.type}")
    if named and torch.device(named).index is not None:
        raise RevisionError(f"device_map=auto takes all GPUs, device={named} one; leave one of them out")
    if processes > 1:
        raise RevisionError(f"device_map=auto takes all GPUs for one process, not for {processes}")
