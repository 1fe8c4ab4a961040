"""Times passes of moments against the work that no pass can do without, and the fits that are made of them.

A covariance pass stands beside the bare symmetric product of as many rows, already float64, normalised and in memory
(numpy's `x.T @ x`, which computes half of it), and beside the same in float32, which is not exact enough; a pass of
first moments beside torch's reading and upcasting of the same bytes. Ratios are of seconds and, in brackets, of CPU
seconds, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from revision_plugin.aligners import ALIGNERS
from revision_plugin.embeddings.manifest import DTYPES
from revision_plugin.embeddings.moments import stream_moments
from revision_plugin.embeddings.rows import block_rows
from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.writer import StoreWriter
from scripts.bench.machine import best_of, describe_machine
from scripts.bench.measured import Measured, measure

SHARD_ROWS, PRODUCT_ROWS = 20000, 8192


def make_store(folder: Path, modality: str, rows: int, dim: int, dtype: str) -> Store:
    """Unit-norm rows around one direction, in shards."""
    rng = np.random.default_rng(len(modality))
    direction = rng.normal(size=dim).astype(np.float32)
    encoder = {"spec": "external:bench", "fingerprint": "0" * 64}
    writer = StoreWriter(
        folder / modality, modality=modality, encoder=encoder, dim=dim, dtype=dtype, request={"rows": rows}
    )
    for shard, start in enumerate(range(0, rows, SHARD_ROWS)):
        count = min(SHARD_ROWS, rows - start)
        block = rng.normal(size=(count, dim)).astype(np.float32) + direction
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        ids = [f"{start + i}" for i in range(count)]
        writer.write_chunk(shard, ids, block.astype(DTYPES[dtype]), texts=ids if modality == "text" else ())
    return writer.finish(shard + 1)


def read_and_upcast(store: Store, threads: int) -> None:
    """In blocks that stay in the cache, with this many of torch's threads."""
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    for block in store.blocks(block_rows(store.dim)):
        x = torch.from_numpy(np.array(block))
        (x.float() if x.dtype == torch.float16 else x).double()
    torch.set_num_threads(usual)


def symmetric_product(rows: int, dim: int, dtype: type) -> None:
    """The sum of outer products of `rows` rows, few of them in memory."""
    x = np.random.default_rng(0).normal(size=(min(rows, PRODUCT_ROWS), dim)).astype(dtype)
    out = np.empty((dim, dim), dtype)
    for start in range(0, rows, PRODUCT_ROWS):
        part = x[: rows - start]
        np.matmul(part.T, part, out=out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of each modality")
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float16")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--fits", nargs="*", default=["realign", "monge", "bc"], help="methods whose fits are timed")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        text, image = (make_store(Path(name), modality, a.rows, a.dim, a.dtype) for modality in ("text", "image"))
        print(f"{a.rows} x {a.dim} {a.dtype} rows of each modality; {describe_machine()}")
        threads = torch.get_num_threads()
        works: dict[str, Callable[[], object]] = {
            "bare symmetric product, float64": lambda: symmetric_product(a.rows, a.dim, np.float64),
            "bare symmetric product, float32": lambda: symmetric_product(a.rows, a.dim, np.float32),
            "covariance pass": lambda: stream_moments(text, covariance=True),
            "read, upcast in torch, one thread": lambda: read_and_upcast(text, 1),
            f"read, upcast in torch, {threads} threads": lambda: read_and_upcast(text, threads),
            "pass of first moments": lambda: stream_moments(text),
        }
        runs = best_of(a.rounds, *works.values())
        for label, run in zip(works, runs):
            print(line(label, run))
        product, single, covariance, *reads, means = runs
        print(f"covariance pass: {ratio(covariance, product)} x float64, {ratio(covariance, single)} x float32")
        print(f"first moments: {', '.join(ratio(means, read) for read in reads)} x the reads")
        for method in a.fits:
            for held_out, words in ((0.0, ""), (0.1, ", held-out report")):
                fit = measure(partial(ALIGNERS.get(method)().fit, text, image, held_out=held_out))
                print(line(f"fit {method}{words}", fit), f"{ratio(fit, product)} x the float64 product")


def line(label: str, run: Measured) -> str:
    return f"{label:35s} {run.seconds:8.3f} s, CPU {run.cpu_seconds:8.3f} s, own memory +{run.peak_megabytes:.0f} MB"


def ratio(run: Measured, other: Measured) -> str:
    """Of seconds, and of CPU seconds in brackets."""
    return f"{run.seconds / other.seconds:.2f} ({run.cpu_seconds / other.cpu_seconds:.2f})"


if __name__ == "__main__":
    main()
