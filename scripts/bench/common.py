"""What every benchmark prints about the machine, and how it measures a piece of work."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Measured:
    seconds: float
    own_megabytes: float  # growth of the process' own (anonymous) memory at its highest; mapped files not counted
    result: object = None


def describe_machine() -> str:
    import torch

    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _own_kilobytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def measure(work: Callable[[], object]) -> Measured:
    """Run `work` once; its memory is sampled every 10 ms."""
    before, highest, done = _own_kilobytes(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            highest[0] = max(highest[0], _own_kilobytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        result = work()
    finally:
        seconds = time.perf_counter() - started
        done.set()
        watcher.join()
    return Measured(seconds, max(0, highest[0] - before) / 1000, result)


def best_of(rounds: int, *works: Callable[[], object]) -> list[Measured]:
    """The fastest of `rounds` runs of each, taken in turns so that a busy moment of the machine hits all alike."""
    taken = [[measure(work) for work in works] for _ in range(rounds)]
    return [min(runs, key=lambda run: run.seconds) for runs in zip(*taken)]
