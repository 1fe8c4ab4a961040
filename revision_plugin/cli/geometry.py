"""`revision geometry`: the modality gap of two stores, what aligners make of it, and what is left inside a model."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from .._common.folders import require_free
from .._common.shared_folders import shown_name
from .._common.timing import timed
from ..aligners import Aligner, load_aligner
from ..corpora.inputs import open_images
from ..embeddings.addresses import store_name
from ..embeddings.item_views import WHOLE, of_view
from ..embeddings.store import Store
from ..errors import RevisionError
from ..geometry.decomposition import ENERGY
from ..geometry.measure import SOURCE, measure
from ..geometry.points import look_up
from ..geometry.projected import ALIGNED, measure_projected
from ..geometry.projected_report import write_projected
from ..geometry.report import write_report
from ..geometry.sweep import ENERGIES
from ..hosts.projected_checkpoint import open_checkpoints
from ..pages import command_line
from .arguments import FlagsOf, add_cache_size, add_seed, add_view, share, whole
from .engine import LOCAL, add_engine, chosen_engine


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags = FlagsOf(parser, measure)
    flags.add("--source", type=store_name, required=True, help="text store")
    flags.add("--target", type=store_name, required=True, help="image store")
    flags.add("--pairs", help="rows of equal id are pairs: measure those too")
    parser.add_argument(
        "--aligner", type=Path, nargs="+", action="extend", default=[], help="fitted aligners to compare"
    )
    flags.add("--rows", type=whole(2), help="sample of a store for neighbours and densities")
    flags.add("--energy", type=share(1, above_zero=True), help="share of the variance that the subspace U holds")
    energies = " ".join(f"{energy:g}" for energy in ENERGIES)
    parser.add_argument(
        "--sweep",
        type=share(1, above_zero=True),
        nargs="+",
        help=f"with --pairs: energies at which the raw pairs are measured as well (default {energies})",
    )
    parser.add_argument(
        "--projected",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="CHECKPOINT",
        help="measure at the projectors' outputs of these checkpoints instead, and against the token embeddings",
    )
    parser.add_argument("--base", help="the language model of checkpoints that hold parts alone (else from run.json)")
    add_view(parser)
    add_cache_size(parser)
    add_seed(flags)
    add_engine(parser)
    text = "the images that the target was encoded from: report.html shows those of its points"
    parser.add_argument("--images", nargs="+", metavar="CORPUS", help=text)
    parser.add_argument("--image-folder", type=Path, help="of a JSON of images")
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
    if a.sweep and not a.pairs:
        raise RevisionError("--sweep: only pairs are measured at several energies; add --pairs, or leave it out")
    if a.image_folder and not a.images:
        raise RevisionError(f"--image-folder {a.image_folder}: is of a JSON of images; give that with --images")
    sweep = a.sweep or ENERGIES
    source, target = (of_view(Store.open(path), a.view) for path in (a.source, a.target))
    if a.projected:
        if a.engine != LOCAL:
            raise RevisionError(f"--engine {a.engine}: checkpoints are measured on this machine; leave it out")
        if a.images:
            raise RevisionError("--images: is of the page of two stores, which --projected has not; leave it out")
        _projected(a, source, target, list(aligners.values()))
        return
    if a.base is not None:
        raise RevisionError(f"--base {a.base}: is of checkpoints; give them with --projected, or leave it out")
    settings = dict(pairs=a.pairs, rows=a.rows, energy=a.energy, sweep=sweep, seed=a.seed)
    images = open_images(a.images, a.image_folder) if a.images else None
    seconds: dict[str, float] = {}
    with chosen_engine(a), timed(seconds, "measuring"):
        geometry = measure(source, target, aligners, **settings)
    points = look_up(geometry, source, target, images)
    facts = {"command": command_line(), "time": f"{seconds['measuring']:.0f} s to measure"}
    report = write_report(geometry, a.out, points, facts)
    for name in geometry.methods:
        print(f"{name}: centroid gap {geometry.metrics[name]['centroid_gap']:.4g}")
    print(f"report: {report}")
    print(f"page: {report.with_suffix('.html')}")


def _projected(a: argparse.Namespace, source: Store, target: Store, aligners: list[Aligner]) -> None:
    if len(aligners) > 1:
        raise RevisionError("--projected takes one --aligner, or none where the trainings' own are there")
    if a.energy != ENERGY:
        raise RevisionError(f"--energy {a.energy}: is of the frame U, which --projected has not; leave it out")
    if a.sweep:
        raise RevisionError("--sweep: is of the frame U, which --projected has not; leave it out")
    checkpoints = open_checkpoints(a.projected, source, base=a.base, aligner=next(iter(aligners), None))
    seconds: dict[str, float] = {}
    with timed(seconds, "measuring"):
        geometry = measure_projected(source, target, checkpoints, pairs=a.pairs, rows=a.rows, seed=a.seed)
    facts = {"command": command_line(), "time": f"{seconds['measuring']:.0f} s to measure"}
    report = write_projected(geometry, a.out, facts)
    for each in geometry.checkpoints:
        aligned, raw = (each.metrics[cloud].get("relative_centroid_gap", math.nan) for cloud in (ALIGNED, SOURCE))
        print(f"{each.settings['name']}: relative centroid gap {aligned:.4g}, of raw texts {raw:.4g}")
    print(f"report: {report}")
    print(f"page: {report.with_suffix('.html')}")
