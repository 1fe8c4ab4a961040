"""What making and opening a store costs beside the encoder: texts whose embeddings are ready, in shards."""

from __future__ import annotations

import argparse
import cProfile
import json
import logging
import pstats
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from revision_plugin.embeddings.encode import encode_texts
from revision_plugin.embeddings.store import Store
from revision_plugin.encoders.identity import Identity
from revision_plugin.hosts.examples import TextOnlyData
from scripts.bench.machine import describe_machine
from scripts.bench.measured import peak_megabytes

BATCH = 256


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


def write_corpus(path: Path, rows: int, conversations: bool) -> None:
    """Captions of about the usual length; as LLaVA's questions and answers where `conversations`."""
    with open(path, "w") as file:
        for row in range(rows):
            caption = f"a photo of a brown dog that runs over the grass, seen from the side, number {row}"
            record: dict = {"id": f"{row:09d}", "text": caption}
            if conversations:
                turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": caption}]
                record["conversations"] = turns
            file.write(json.dumps(record) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rows-per-shard", type=int, default=1_000_000)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--conversations", action="store_true", help="texts with a question and an answer")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--profile", type=int, default=0, metavar="N", help="print the N functions that took longest")
    a = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(dir=a.folder) as name:
        root = Path(name)
        write_corpus(root / "texts.jsonl", a.rows, a.conversations)
        before, profiler = peak_megabytes(), cProfile.Profile()
        started, cpu = time.perf_counter(), time.process_time()
        if a.profile:
            profiler.enable()
        encode_texts(
            ReadyEncoder(a.dim),  # type: ignore[arg-type]
            root / "texts.jsonl",
            root / "store",
            batch_size=a.batch_size,
            rows_per_shard=a.rows_per_shard,
        )
        profiler.disable()
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        peak = peak_megabytes()
        started = time.perf_counter()
        store = Store.open(root / "store")
        opened = time.perf_counter() - started
        rng = np.random.default_rng(0)
        started = time.perf_counter()
        for row in rng.integers(len(store), size=BATCH).tolist():
            store.row(row), store.span(row, row + 1)
        read = time.perf_counter() - started
        started = time.perf_counter()
        data = TextOnlyData(Store.open(root / "store"), reconstruct=not a.conversations)
        ready = time.perf_counter() - started
        started = time.perf_counter()
        torch.stack([data[row].embedding for row in rng.integers(len(data), size=BATCH).tolist()])
        batch = time.perf_counter() - started
        shards = len(store.manifest.shards)
    print(describe_machine())
    print(f"{a.rows} rows of {a.dim} dimensions in {shards} shard(s), conversations: {a.conversations}")
    each, of_time = 1e6 * cpu / a.rows, 1e6 * seconds / a.rows
    print(f"encode beside the encoder   {each:8.2f} us a row and core, {of_time:.2f} us of time")
    print(f"peak memory                 {peak:8.0f} MB, {before:.0f} MB of them before")
    print(f"open                        {1e3 * opened:8.2f} ms")
    print(f"{BATCH} random rows after that {1e3 * read:8.2f} ms")
    print(f"training data, all verified {1e3 * ready:8.0f} ms, its first batch {1e3 * batch:.1f} ms")
    if a.profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(a.profile)


if __name__ == "__main__":
    main()
