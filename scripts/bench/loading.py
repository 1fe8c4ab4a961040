"""What a data loader costs before its first batch: a text store, against pickled records in a dictionary, as the
authors load them.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
from pathlib import Path

import numpy as np

from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.writer import StoreWriter
from revision_plugin.hosts.examples import TextOnlyData
from scripts.bench.machine import describe_machine, measure

BATCH = 256
CHUNK = 50000


def write_both(root: Path, rows: int, dim: int) -> None:
    """The same rows as a float16 text store and as parts of pickled dictionaries of float32 records."""
    rng = np.random.default_rng(0)
    encoder = {"spec": "bench", "fingerprint": "0" * 64}
    writer = StoreWriter(root / "store", modality="text", encoder=encoder, dim=dim, dtype="float16", request={})
    chunks = 0
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        block = rng.normal(size=(count, dim)).astype(np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        ids = [f"{start + i:08d}" for i in range(count)]
        texts = [f"a caption of about the usual length, number {i}" for i in ids]
        writer.write_chunk(chunks, ids, block, texts=texts)
        chunks += 1
        with open(root / f"part-{chunks:03d}.pkl", "wb") as file:
            pickle.dump({key: {"embedding": block[i], "text": texts[i]} for i, key in enumerate(ids)}, file, protocol=4)
    writer.finish(chunks)


def from_store(root: Path) -> tuple[float, float]:
    """Seconds to open and to draw the first batch."""
    started = time.perf_counter()
    data = TextOnlyData(Store.open(root / "store"), reconstruct=True)
    opened = time.perf_counter()
    rows = np.random.default_rng(1).integers(len(data), size=BATCH)
    np.stack([data[int(row)].embedding for row in rows])
    return opened - started, time.perf_counter() - opened


def from_pickles(root: Path) -> tuple[float, float]:
    started = time.perf_counter()
    records = {}
    for path in sorted(root.glob("part-*.pkl")):
        records.update(pickle.loads(path.read_bytes()))  # noqa: S301 written a moment ago
    keys = list(records)
    opened = time.perf_counter()
    rows = np.random.default_rng(1).integers(len(keys), size=BATCH)
    np.stack([records[keys[row]]["embedding"] for row in rows])
    return opened - started, time.perf_counter() - opened


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="of the store")
    parser.add_argument("--dim", type=int, default=256, help="the store's size on disk is 2 bytes a value")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=a.folder) as name:
        root = Path(name)
        write_both(root, a.rows, a.dim)
        store_run, pickle_run = measure(lambda: from_store(root)), measure(lambda: from_pickles(root))
    print(describe_machine())
    print(f"{a.rows} rows of {a.dim} dimensions")
    for name, run in (("text store, mapped", store_run), ("pickles in a dictionary", pickle_run)):
        print(
            f"{name:26s} ready {run.result[0]:8.3f} s, first batch of {BATCH} {run.result[1]:.4f} s, "
            f"{run.peak_megabytes:8.0f} MB a process"
        )
    print(
        f"ready {pickle_run.result[0] / store_run.result[0]:.0f} x sooner, "
        f"{pickle_run.peak_megabytes / max(store_run.peak_megabytes, 1):.0f} x less memory in every process"
    )


if __name__ == "__main__":
    main()
