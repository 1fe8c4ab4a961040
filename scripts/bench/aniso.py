"""Times fitting AnisoAlign with its defaults, beside ReAlign and blockwise covariance on the same rows."""

from __future__ import annotations

import argparse

import numpy as np

from revision_plugin.aligners import ALIGNERS
from scripts.bench.machine import describe_machine, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of each modality")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--held-out", type=float, default=0.1)
    a = parser.parse_args()
    spread = np.linspace(1.5, 0.2, a.dim)
    source, target = (
        np.random.default_rng(seed).normal(size=(a.rows, a.dim)) * spread
        + np.random.default_rng(9 + seed).normal(size=a.dim)
        for seed in (0, 1)
    )
    print(f"{a.rows} x {a.dim} rows of each modality, held-out share {a.held_out}; {describe_machine()}")
    for method in ("realign", "bc", "aniso"):
        run = measure(lambda method=method: ALIGNERS.get(method)().fit(source, target, held_out=a.held_out))
        print(f"{method:10s} {run.seconds:8.2f} s, own memory +{run.peak_megabytes:.0f} MB")


if __name__ == "__main__":
    main()
