"""Fits ReAlign on generated rows, ever more of them, and prints the time a row and the peak memory.

Rows are made as they are read, by a counter-based generator (Philox): a block's rows follow from its number, so any
pass reads the same ones and none is kept. They have few dimensions, so that 10^9 of them are minutes. Linear time and
flat memory show in the last two columns: within 10 % and 200 MB where nothing else runs on the machine. On `--engine
ray` the CPU time is that of this process alone, so the wall is compared, and the memory is the largest worker's.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator

import numpy as np
import psutil

from revision_plugin.aligners import ReAlign
from revision_plugin.cli.engine import add_engine, chosen_engine
from scripts.bench.machine import describe_machine
from scripts.bench.measured import peak_megabytes

BLOCK = 16384  # rows that are generated as one
SIZES = (10**6, 10**7, 10**8)
WARM_UP = 2_000_000  # rows: imports, thread pools and the start of workers are no part of the first size


class GeneratedRows:
    """`count` float32 rows [count, dim] around one direction, the same for one seed however they are read."""

    def __init__(self, count: int, dim: int, seed: int):
        self._count, self.dim, self._seed = count, dim, seed
        self._centre = np.random.default_rng(seed).normal(size=dim).astype(np.float32)

    def __len__(self) -> int:
        return self._count

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        stop = self._count if stop is None else min(stop, self._count)
        while start < stop:
            number, inside = divmod(start, BLOCK)
            generator = np.random.Generator(np.random.Philox(key=self._seed, counter=[0, 0, number, 0]))
            block = generator.random((BLOCK, self.dim), dtype=np.float32) + self._centre
            part = block[inside : inside + stop - start]
            for at in range(0, len(part), rows):
                yield part[at : at + rows]
            start += len(part)


def largest_worker() -> float:
    """The memory of the largest worker of a Ray on this machine, megabytes."""
    sizes = [0.0]
    for process in psutil.process_iter(["cmdline", "memory_info"]):
        if "ray::EngineWorker" in " ".join(process.info["cmdline"] or []) and process.info["memory_info"]:
            sizes.append(process.info["memory_info"].rss / 2**20)
    return max(sizes)


class Watched:
    """Samples `largest_worker` while it is open."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stopped.wait(1.0):
            self.peak = max(self.peak, largest_worker())

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()


def fit(count: int, dim: int, held_out: float) -> tuple[float, float]:
    """Seconds and CPU seconds of one fit on `count` rows of each modality."""
    source, target = (GeneratedRows(count, dim, seed) for seed in (0, 1))
    before = time.perf_counter(), time.process_time()
    ReAlign().fit(source, target, held_out=held_out, device="cpu")
    return time.perf_counter() - before[0], time.process_time() - before[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES), help="of each modality, rising")
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--held-out", type=float, default=0.0)
    add_engine(parser)
    a = parser.parse_args()
    with chosen_engine(a) as workers:
        measure(a, on_workers=workers is not None)


def measure(a: argparse.Namespace, *, on_workers: bool) -> None:
    print(f"dim {a.dim}, held out {a.held_out:g}; {describe_machine()}")
    fit(WARM_UP, a.dim, a.held_out)
    first: tuple[float, float] | None = None
    for count in sorted(a.rows):
        with Watched() as watched:
            seconds, cpu = fit(count, a.dim, a.held_out)
        each = 1e9 * (seconds if on_workers else cpu) / count
        peak = watched.peak if on_workers else peak_megabytes()
        first = first or (each, peak)
        print(
            f"{count:>13,} rows: {seconds:8.1f} s, CPU {cpu:8.1f} s, {1e9 * seconds / count:6.0f} ns a row, "
            f"{each / first[0]:.2f} x the first, peak {peak:6.0f} MB "
            f"({peak - first[1]:+.0f} MB)",
            flush=True,
        )


if __name__ == "__main__":
    main()
