"""`revision geometry`: the modality gap of two stores, and what aligners make of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from .._common.folders import require_free
from .._common.shared_folders import shown_name
from ..aligners import load_aligner
from ..embeddings.item_views import WHOLE, of_view
from ..embeddings.store import Store
from ..errors import RevisionError
from ..geometry.measure import measure
from ..geometry.report import write_report
from .arguments import FlagsOf, add_seed, add_view, share, whole


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags = FlagsOf(parser, measure)
    flags.add("--source", type=Path, required=True, help="text store")
    flags.add("--target", type=Path, required=True, help="image store")
    flags.add("--pairs", help="rows of equal id are pairs: measure those too")
    parser.add_argument(
        "--aligner", type=Path, nargs="+", action="extend", default=[], help="fitted aligners to compare"
    )
    flags.add("--rows", type=whole(2), help="sample of a store for neighbours and densities")
    flags.add("--energy", type=share(1, above_zero=True), help="share of the variance that the subspace U holds")
    add_view(parser)
    add_seed(flags)
    parser.add_argument("--out", type=Path, required=True)


def run(a: argparse.Namespace) -> None:
    require_free(a.out)
    aligners = {}
    for path in a.aligner:
        name = shown_name(path)
        if not name:
            raise RevisionError(f"--aligner {path}: give the folder by its name, which the report calls it by")
        if name in aligners:
            raise RevisionError(f"--aligner {path}: another one is called '{name}' too; rename one folder")
        aligners[name] = load_aligner(path)
    if a.pairs and a.view not in (None, WHOLE):
        raise RevisionError(f"--view {a.view}: parts of a text and of its image are no pairs; leave out --pairs")
    source, target = (of_view(Store.open(path), a.view) for path in (a.source, a.target))
    geometry = measure(source, target, aligners, pairs=a.pairs, rows=a.rows, energy=a.energy, seed=a.seed)
    report = write_report(geometry, a.out)
    for name in geometry.methods:
        print(f"{name}: centroid gap {geometry.metrics[name]['centroid_gap']:.4g}")
    print(f"report: {report}")
