"""How long a training waits for its first batch of a store's rows, drawn from all of it, and for their verification."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from revision_plugin.embeddings.store import Store
from revision_plugin.hosts.examples import TextOnlyData
from revision_plugin.hosts.store_checks import StoreChecks
from scripts.bench.machine import describe_machine
from scripts.bench.stores import BATCH


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--reconstruct", action="store_true", help="as Stage 1 does, without the conversations")
    a = parser.parse_args()
    started = time.perf_counter()
    checks, store = StoreChecks(), Store.open(a.store)
    data = TextOnlyData(store, reconstruct=a.reconstruct, verify=checks.verify)
    rows = np.random.default_rng(0).integers(len(data), size=BATCH).tolist()
    torch.stack([data[row].embedding for row in rows])
    batch = time.perf_counter() - started
    checks.finish()
    verified = time.perf_counter() - started
    print(f"{len(data)} rows in {len(store.manifest.shards)} shard(s); {describe_machine()}")
    print(f"first training batch        {1e3 * batch:8.2f} ms from opening on, verified after {verified:.1f} s")


if __name__ == "__main__":
    main()
