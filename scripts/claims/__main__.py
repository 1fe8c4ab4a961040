"""The papers' claims put to the test on the embedded world; writes claims.md and its pictures into --report.

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
from scripts.claims.claims_page import write_report
from scripts.claims.plan import BY_NAME, DEFAULT, QUICK, chosen_variants
from scripts.claims.pool import WALL, run_claims


def main() -> None:
    parser = Parser(
        description=__doc__,
        epilog=f"variants: {', '.join(BY_NAME)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("claims"), help="the trainings; what is done is kept")
    parser.add_argument("--report", type=Path, help="folder of claims.md (default: OUT/report)")
    parser.add_argument("--quick", action="store_true", help="fewer seeds, steps and variants, marked as such")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="these variants, and the floor")
    parser.add_argument("--workers", type=whole(1), help="trainings at a time (default: one a core)")
    for name in ("seeds", "steps", "texts"):
        parser.add_argument(f"--{name}", type=whole(1), help="instead of the default")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    with one_line(interrupted="repeat the command to go on"):
        a = parser.parse_args()
        overrides = {name: getattr(a, name) for name in ("seeds", "steps", "texts") if getattr(a, name) is not None}
        settings = replace(QUICK if a.quick else DEFAULT, **overrides)
        records = run_claims(a.out, settings, chosen_variants(quick=a.quick, only=a.only), workers=a.workers)
        seconds = read_json(a.out / WALL)
        page = write_report(
            records,
            settings,
            a.report or a.out / "report",
            wall=seconds["wall"],
            command=f"python -m scripts.claims{' --quick' if a.quick else ''}",
            machine=f"{describe_machine()}, {seconds['workers']} trainings at a time",
        )
    print(f"report: {page}")


if __name__ == "__main__":
    main()
