"""Time and memory of a piece of work."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Measured:
    seconds: float
    peak_megabytes: float  # growth of the process' own (anonymous) memory at its highest; mapped files not counted
    result: object = None
    cpu_seconds: float = 0.0  # of all threads: what other work on the machine changes least


def _anonymous_kilobytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def measure(work: Callable[[], object]) -> Measured:
    """Run `work` once; its memory is sampled every 10 ms."""
    before, highest, done = _anonymous_kilobytes(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            highest[0] = max(highest[0], _anonymous_kilobytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started, cpu = time.perf_counter(), time.process_time()
    try:
        result = work()
    finally:
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        done.set()
        watcher.join()
    return Measured(seconds, max(0, highest[0] - before) / 1000, result, cpu)


def peak_megabytes() -> float:
    """The most memory that this process ever had, mapped files and libraries included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
