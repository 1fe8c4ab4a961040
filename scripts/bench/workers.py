"""How much sooner more workers of a Ray on this machine are done: the same texts, encoded by one worker and by several.

Each worker is held to one core: its threads that read and write would else take another while that is free, as it is
for one worker alone (`--free` lets them). The first encoding of each number of workers is short and starts them, the
second is timed: so both can be told, what a run takes when its workers are there, and with their start. Run it where
nothing else runs.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import tempfile
import time
from pathlib import Path

import psutil

from revision_plugin._common.engines import running_on
from revision_plugin._common.ray_engine import RayEngine
from revision_plugin.embeddings.encode import encode_texts
from revision_plugin.encoders import load_encoder
from scripts.bench.machine import describe_machine
from scripts.bench.stores import write_corpus

PARTS_A_WORKER = 8  # of the corpus: a worker reads no part of another's
FEW = 64  # texts a part of the encoding that starts the workers
WORKER = "ray::EngineWorker"  # the name of its process


def hold_to_cores() -> None:
    """Each worker of this machine's Ray to a core of its own, round the cores."""
    cores = sorted(os.sched_getaffinity(0))
    processes = [each for each in psutil.process_iter() if _name(each).startswith(WORKER)]
    for number, process in enumerate(sorted(processes, key=lambda each: each.pid)):
        for thread in process.threads():
            with contextlib.suppress(ProcessLookupError):  # one that has just ended
                os.sched_setaffinity(thread.id, {cores[number % len(cores)]})


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=80_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="the first is what others are held to")
    parser.add_argument("--encoder", default="demo")
    parser.add_argument("--free", action="store_true", help="hold no worker to a core")
    a = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    print(f"{a.rows} texts, {a.encoder}; {describe_machine()}")
    parts = PARTS_A_WORKER * max(a.workers)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_corpus(root / "few", FEW * parts, FEW, False)
        write_corpus(root / "texts", a.rows, -(-a.rows // parts), False)
        encoder = load_encoder(a.encoder)
        one: tuple[float, float] | None = None
        hashes = set()
        for workers in a.workers:
            began = time.perf_counter()
            with RayEngine(workers=workers) as engine, running_on(engine):
                encode_texts(encoder, root / "few", root / f"few-{workers}")
                if not a.free:
                    hold_to_cores()
                started = time.perf_counter()
                store = encode_texts(encoder, root / "texts", root / f"store-{workers}")
                done = time.perf_counter()
            hashes.add(store.manifest.content_hash)
            seconds, whole = done - started, done - began
            one = one or (seconds, whole)
            print(
                f"{workers} worker(s): {seconds:6.1f} s, {1e6 * seconds / a.rows:5.0f} us a text, "
                f"{one[0] / seconds:.2f} x the first; with their start {whole:6.1f} s, {one[1] / whole:.2f} x",
                flush=True,
            )
    print("the same content hash" if len(hashes) == 1 else "DIFFERENT content hashes")


if __name__ == "__main__":
    main()
