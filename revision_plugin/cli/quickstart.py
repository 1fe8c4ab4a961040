"""`revision quickstart`: the whole flow on the embedded world."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..demo.quickstart import quickstart
from ..demo.recipe import LANGUAGE_MODELS
from .arguments import FlagsOf, add_seed


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("quickstart"), help="(default quickstart)")
    flags = FlagsOf(parser, quickstart)
    flags.add("--full", help="more data and steps, for the best accuracy")
    flags.add("--small-llm", choices=LANGUAGE_MODELS)
    add_seed(flags)


def run(a: argparse.Namespace) -> None:
    report = quickstart(a.out, full=a.full, small_llm=a.small_llm, seed=a.seed)
    print(f"report: {report}")
