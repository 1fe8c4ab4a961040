"""What every benchmark prints about the machine, and how it repeats pieces of work."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path

import torch

from scripts.bench.measured import Measured, measure


def describe_machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def best_of(rounds: int, *works: Callable[[], object]) -> list[Measured]:
    """The fastest of `rounds` runs of each, taken in turns so that a busy moment of the machine hits all alike."""
    measurements = [[measure(work) for work in works] for _ in range(rounds)]
    return [min(runs, key=lambda run: run.seconds) for runs in zip(*measurements)]
