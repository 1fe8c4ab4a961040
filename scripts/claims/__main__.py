"""The papers' claims put to the test on two small worlds; writes claims.md and its pictures into --report.

Many short trainings through LLaVA's own train(), several at a time, compared over seeds. Repeat a stopped command to
go on.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

from revision_plugin._common.files import read_json
from revision_plugin.cli import Parser
from revision_plugin.cli.arguments import whole
from revision_plugin.errors import one_line
from scripts.bench.machine import describe_machine
from scripts.claims.choices_made import made_choices
from scripts.claims.claims_page import write_report
from scripts.claims.plan import BY_NAME, DEFAULT, GPU, QUICK, chosen_variants
from scripts.claims.pool import WALL, run_claims
from scripts.claims.tuning_plan import DEFAULT_TUNING, QUICK_TUNING, TUNING_VARIANTS
from scripts.claims.tuning_training import run_tuning

SIZES = {"default": (DEFAULT, DEFAULT_TUNING), "quick": (QUICK, QUICK_TUNING), "gpu": (GPU, DEFAULT_TUNING)}


def main() -> None:
    parser = Parser(
        description=__doc__,
        epilog=f"variants: {'; '.join(BY_NAME)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("claims"), help="the trainings; what is done is kept")
    parser.add_argument("--report", type=Path, help="folder of claims.md (default: OUT/report)")
    parser.add_argument("--size", choices=SIZES, default="default", help="quick: two seeds and few variants")
    parser.add_argument("--part", choices=("both", "likelihood", "tuning"), default="both")
    parser.add_argument(
        "--large", action="store_true", help="the main ranking with SmolLM2-135M as well, which takes hours"
    )
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="these variants of the likelihood part")
    parser.add_argument("--workers", type=whole(1), help="trainings at a time (default: one a core)")
    parser.add_argument("--seeds", type=whole(2), help="instead of the default")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    with one_line(interrupted="repeat the command to go on"):
        a = parser.parse_args()
        settings, tuning_settings = (replace(s, seeds=a.seeds or s.seeds) for s in SIZES[a.size])
        records, choices, tuning, wall, workers = [], [], [], 0.0, a.workers
        if a.part != "tuning":
            variants = chosen_variants(quick=a.size == "quick", large=a.large, only=a.only)
            records = run_claims(a.out / "likelihood", settings, variants, workers=a.workers)
            choices = made_choices(a.out / "likelihood", settings)
            spent = read_json(a.out / "likelihood" / WALL)
            wall, workers = wall + spent["wall"], spent["workers"]
        if a.part != "likelihood":
            tuning = run_tuning(a.out / "tuning", tuning_settings, TUNING_VARIANTS, workers=a.workers)
            spent = read_json(a.out / "tuning" / WALL)
            wall, workers = wall + spent["wall"], spent["workers"]
        words = [f"--size {a.size}"] * (a.size != "default") + [f"--part {a.part}"] * (a.part != "both")
        words += ["--large"] * a.large
        page = write_report(
            records,
            choices,
            tuning,
            settings,
            tuning_settings,
            a.report or a.out / "report",
            wall=wall,
            command=" ".join(["python -m scripts.claims", *words]),
            machine=f"{describe_machine()}, {workers} trainings at a time",
        )
    print(f"report: {page}")


if __name__ == "__main__":
    main()
