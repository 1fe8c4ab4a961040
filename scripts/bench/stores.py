"""What making and opening a store costs beside the encoder: texts whose embeddings are ready, in shards.

`--rows 20000000 --dim 8 --conversations` is the size at which a corpus no longer is a file; `--many 10000` opens a
store of so many shards, links to one file.
"""

from __future__ import annotations

import argparse
import cProfile
import dataclasses
import logging
import os
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from revision_plugin._common.files import write_json
from revision_plugin.embeddings.content_hashes import hash_of_shards
from revision_plugin.embeddings.encode import encode_texts
from revision_plugin.embeddings.manifest import HASH_A_SHARD, MANIFEST, SHARD_HASHES, SHARD_NAMES
from revision_plugin.embeddings.store import Store
from revision_plugin.encoders.identity import Identity
from scripts.bench.machine import describe_machine
from scripts.bench.measured import peak_megabytes

BATCH = 256
CAPTION = "a photo of a brown dog that runs over the grass, seen from the side, number %d"
LINE = f'{{"id": "%09d", "text": "{CAPTION}"}}\n'
TALK = f'[{{"from": "human", "value": "<image>\\nWhat is it?"}}, {{"from": "gpt", "value": "{CAPTION}"}}]'
TALK_LINE = LINE.replace("}\n", f', "conversations": {TALK}}}\n')


class ReadyEncoder:
    """Gives rows that it has ready, so that all the time is that of the work beside it."""

    def __init__(self, dim: int):
        self.dim, self.identity = dim, Identity("bench", "0" * 64)
        rows = torch.randn(4096, dim, generator=torch.Generator().manual_seed(0))
        self._rows = rows / rows.norm(dim=1, keepdim=True)

    def tokenize(self, texts: list[str]) -> SimpleNamespace:
        return SimpleNamespace(rows=len(texts), truncated=0)

    def encode_tokens(self, tokens: SimpleNamespace) -> torch.Tensor:
        return self._rows[: tokens.rows]


def write_corpus(folder: Path, rows: int, rows_per_shard: int, conversations: bool) -> None:
    """JSONL shards of captions of about the usual length; as LLaVA's questions and answers where `conversations`."""
    folder.mkdir()
    for number, start in enumerate(range(0, rows, rows_per_shard)):
        with open(folder / f"{number:05d}.jsonl", "w") as file:
            for row in range(start, min(start + rows_per_shard, rows)):
                file.write(TALK_LINE % (row, row, row) if conversations else LINE % (row, row))


def write_many(path: Path, store: Store, count: int) -> None:
    """A store of `count` shards, each a link to the first one of `store`, with the hashes that such a store has."""
    path.mkdir()
    first = store.path / store.manifest.shards[0]
    rows = len(store.shards.table(0))
    for number in range(count):
        os.link(first, path / (SHARD_NAMES % number))
    if store.manifest.columns is None:
        raise ValueError("a store whose columns have hashes")
    by_shard = {name: [value] * count for name, value in store.manifest.columns.items()}
    columns = {name: hash_of_shards([rows] * count, each) for name, each in by_shard.items()}
    manifest = dataclasses.replace(
        store.manifest,
        count=rows * count,
        columns=columns,
        content_hash=store.manifest.joined(columns),
        shards=[SHARD_NAMES % number for number in range(count)],
        format_version=HASH_A_SHARD,
        shard_rows=[rows] * count,
        shard_bytes=[first.stat().st_size] * count,
    )
    write_json(path / SHARD_HASHES, {"columns": by_shard})
    write_json(path / MANIFEST, manifest.to_json())


def open_and_read(path: Path) -> tuple[float, float]:
    """Seconds to open a store, and from there to a first batch of rows with their texts, drawn from all of it."""
    started = time.perf_counter()
    store = Store.open(path)
    opened = time.perf_counter()
    for row in np.random.default_rng(0).integers(len(store), size=BATCH).tolist():
        store.row(row), store.span(row, row + 1)
    return opened - started, time.perf_counter() - opened


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rows-per-shard", type=int, default=1_000_000, help="of the corpus and of the store")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--conversations", action="store_true", help="texts with a question and an answer")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--profile", type=int, default=0, metavar="N", help="print the N functions that took longest")
    parser.add_argument("--many", type=int, metavar="N", help="open a store of N shards, and nothing else")
    a = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    print(describe_machine())
    with tempfile.TemporaryDirectory(dir=a.folder) as name:
        if a.many:
            measure_many(Path(name), a.many)
        else:
            measure(Path(name), a)


def measure_many(root: Path, count: int) -> None:
    write_corpus(root / "texts", 100, 100, True)
    encode_texts(ReadyEncoder(8), root / "texts", root / "store")  # type: ignore[arg-type]
    write_many(root / "many", Store.open(root / "store"), count)
    opened, read = open_and_read(root / "many")
    print(f"{count} shards: open {1e3 * opened:.1f} ms, then {BATCH} random rows {1e3 * read:.1f} ms")


def measure(root: Path, a: argparse.Namespace) -> None:
    write_corpus(root / "texts", a.rows, a.rows_per_shard, a.conversations)
    before, profiler = peak_megabytes(), cProfile.Profile()
    started, cpu = time.perf_counter(), time.process_time()
    if a.profile:
        profiler.enable()
    store = encode_texts(
        ReadyEncoder(a.dim),  # type: ignore[arg-type]
        root / "texts",
        root / "store",
        batch_size=a.batch_size,
        rows_per_shard=a.rows_per_shard,
    )
    profiler.disable()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = peak_megabytes()
    opened, read = open_and_read(root / "store")
    shards = len(store.manifest.shards)
    print(f"{a.rows} rows of {a.dim} dimensions in {shards} shard(s), conversations: {a.conversations}")
    each, of_time = 1e6 * cpu / a.rows, 1e6 * seconds / a.rows
    print(f"encode beside the encoder   {each:8.2f} us a row and core, {of_time:.2f} us of time")
    print(f"peak memory                 {peak:8.0f} MB, {before:.0f} MB of them before")
    print(f"open                        {1e3 * opened:8.2f} ms")
    print(f"{BATCH} random rows after that {1e3 * read:8.2f} ms")
    # in a process of its own: what a training imports is no memory of the encoding
    command = [sys.executable, "-m", "scripts.bench.first_batch", root / "store"]
    subprocess.run(command + ["--reconstruct"] * (not a.conversations), check=True)
    if a.profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(a.profile)


if __name__ == "__main__":
    main()
