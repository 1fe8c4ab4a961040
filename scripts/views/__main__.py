"""Measures what views are worth: trains each variant over seeds and writes views-measured.md into --report.

Repeat a stopped command to go on.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from revision_plugin._common.files import read_json
from revision_plugin._common.folders import ClaimedFolder
from revision_plugin.cli import Parser
from revision_plugin.cli.arguments import whole
from revision_plugin.demo.recipe import QUICK, Recipe
from revision_plugin.errors import one_line
from scripts.bench.machine import describe_machine
from scripts.claims.pool import run_all
from scripts.views.views_page import write_page
from scripts.views.views_plan import NAMED, VARIANTS, WITHOUT, Variant, chosen
from scripts.views.views_training import (
    captions_of,
    encode_views,
    images_of,
    measure_captions,
    projector_of,
    result_of,
    texts_of,
    train_stage1,
    train_stage2,
    write_data,
)


def run_variants(
    out: Path, recipe: Recipe, variants: list[Variant], seeds: list[int], workers: int
) -> tuple[list[dict], dict[str, list[dict]]]:
    """Every training that is not done yet, under `out`; returns the result of each variant and seed, and by Stage 1
    what captions it gives images, a record a seed.
    """
    specs = list(dict.fromkeys(["1", *(variant.views for variant in variants)]))
    stage1 = list({variant.stage1: variant for variant in variants if variant.stage1 != WITHOUT}.values())

    def tasks(function: Callable, done: Callable, of: list[Variant]) -> list[tuple]:
        return [(function, (out, recipe, each, seed), done(out, each, seed)) for seed in seeds for each in of]

    phases = {  # each task: a function, its arguments, and what is there when it is done
        "data": [(write_data, (out, recipe, seed), texts_of(out, seed, NAMED)) for seed in seeds],
        "views": [
            (encode_views, (out, seed, spec), images_of(out, seed, "asked", spec)) for seed in seeds for spec in specs
        ],
        "stage 1": tasks(train_stage1, projector_of, stage1),
        "captions": tasks(measure_captions, captions_of, stage1),
        "stage 2": tasks(train_stage2, result_of, variants),
    }
    with ClaimedFolder(out, "views.json", {"recipe": asdict(recipe)}):
        for title, planned in phases.items():
            work = [(function, arguments) for function, arguments, done in planned if not done.exists()]
            run_all(title, "task", work, workers, out / "trainings.log", lambda: None)
    answers = [read_json(result_of(out, variant, seed)) for variant in variants for seed in seeds]
    captions = {v.stage1: [read_json(captions_of(out, v, seed)) for seed in seeds] for v in stage1}
    return answers, captions


def main() -> None:
    names = "\n".join(f"  {variant.name}" for variant in VARIANTS)
    parser = Parser(
        description=__doc__, epilog=f"variants:\n{names}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("views-study"), help="the trainings; what is done is kept")
    parser.add_argument("--report", type=Path, help="folder of the page (default: OUT/report)")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="these variants")
    parser.add_argument("--seeds", type=whole(2), default=5)
    parser.add_argument("--workers", type=whole(1), default=os.cpu_count() or 1, help="trainings at a time")
    for name in ("texts", "images", "held_out", "stage1_steps", "stage2_images", "stage2_steps"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=whole(1), help="instead of the quickstart's")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    with one_line(interrupted="repeat the command to go on"):
        a = parser.parse_args()
        sizes = {n: getattr(a, n) for n in asdict(QUICK) if getattr(a, n, None) is not None}
        recipe = replace(QUICK, **sizes)
        records, captions = run_variants(a.out, recipe, chosen(a.only), list(range(1, a.seeds + 1)), a.workers)
        page = write_page(records, captions, recipe, a.report or a.out / "report", describe_machine())
    print(f"report: {page}")


if __name__ == "__main__":
    main()
