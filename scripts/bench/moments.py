"""Times passes of moments against the work that no pass can do without, and the fits that are made of them.

A covariance pass stands beside the bare symmetric product of as many rows, already float64, normalised and in memory
(numpy's `x.T @ x`, which computes half of it), and beside the same in float32, which is not exact enough; a pass of
first moments beside torch's reading and upcasting of the same bytes.
"""

from __future__ import annotations

import argparse
import tempfile
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
from scripts.bench.machine import best_of, describe_machine, measure

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


def read_and_upcast(store: Store) -> None:
    """The fastest way found, in blocks that stay in the cache."""
    for block in store.blocks(block_rows(store.dim)):
        x = torch.from_numpy(np.array(block))
        (x.float() if x.dtype == torch.float16 else x).double()


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
        product, single, covariance, read, means = best_of(
            a.rounds,
            lambda: symmetric_product(a.rows, a.dim, np.float64),
            lambda: symmetric_product(a.rows, a.dim, np.float32),
            lambda: stream_moments(text, covariance=True),
            lambda: read_and_upcast(text),
            lambda: stream_moments(text),
        )
        print(f"bare symmetric product, float64   {product.seconds:8.2f} s")
        print(f"bare symmetric product, float32   {single.seconds:8.2f} s")
        print(
            f"covariance pass                   {covariance.seconds:8.2f} s  "
            f"{covariance.seconds / product.seconds:5.2f} x float64, {covariance.seconds / single.seconds:5.2f} x "
            f"float32; own memory +{covariance.peak_megabytes:.0f} MB"
        )
        print(f"read, upcast in torch             {read.seconds:8.3f} s")
        print(
            f"pass of first moments             {means.seconds:8.3f} s  {means.seconds / read.seconds:5.2f} x the "
            f"read; own memory +{means.peak_megabytes:.0f} MB"
        )
        for method in a.fits:
            for held_out, words in ((0.0, ""), (0.1, ", held-out report")):
                fit = measure(partial(ALIGNERS.get(method)().fit, text, image, held_out=held_out))
                label = f"fit {method}{words}"
                print(
                    f"{label:33s} {fit.seconds:8.2f} s  {fit.seconds / product.seconds:5.2f} x the float64 product, "
                    f"{fit.seconds / read.seconds:6.1f} x the read; own memory +{fit.peak_megabytes:.0f} MB"
                )


if __name__ == "__main__":
    main()
