"""`revision fit`: an aligner from two unpaired stores."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

from .._common import distributed
from .._common.devices import choose_device
from .._common.folders import require_free
from ..aligners import ALIGNERS, Aligner, create, load_aligner
from ..aligners.auto import CANDIDATES, SAMPLE_ROWS, choice_table, choose
from ..aligners.matched_fit import fit_on_matches
from ..embeddings.item_views import of_view
from ..embeddings.store import Store
from ..errors import RevisionError
from .arguments import FlagsOf, add_device, add_seed, add_view, share

logger = logging.getLogger(__name__)
METHOD, AUTO = "realign", "auto"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=Path, required=True, help="text store")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--target", type=Path, help="image store")
    target.add_argument(
        "--refit-source", type=Path, metavar="ALIGNER", help="keep this aligner's method and target statistics"
    )
    parser.add_argument("--method", help=f"{', '.join(ALIGNERS.names())} (default {METHOD}), or {AUTO}")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the method, see below")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = describe_options()
    parser.add_argument(
        "--matched",
        action="store_true",
        help="fit on the texts and images that the encoder matches, where the corpora differ in content",
    )
    flags = FlagsOf(parser, Aligner.fit)
    flags.add("--held-out", type=share(0.5), help="share of both corpora for the held-out report")
    add_seed(flags)
    add_view(parser)
    add_device(parser)
    parser.add_argument("--out", type=Path, required=True)


def run(a: argparse.Namespace) -> None:
    require_free(a.out)
    device = choose_device(a.device)
    settings: dict[str, Any] = dict(seed=a.seed, held_out=a.held_out, device=device)
    if a.refit_source and (a.method or a.option):
        raise RevisionError("--refit-source keeps the method and options of its aligner; leave out yours")
    if a.matched and (a.refit_source or a.method == AUTO):
        other = "--refit-source has no images to match" if a.refit_source else f"{AUTO} says itself when to match"
        raise RevisionError(f"--matched: {other}; leave it out")
    fitted = load_aligner(a.refit_source) if a.refit_source else None
    options = read_options(a.option)
    if a.method == AUTO and (unknown := sorted(set(options) - {"candidates", "rows"})):
        raise RevisionError(f"{AUTO} has no option '{unknown[0]}'; its options: candidates, rows")
    aligner = None if a.method == AUTO else fitted or create(ALIGNERS.get(a.method or METHOD), options)
    distributed.start()
    if distributed.rank() == 0:
        logger.info("fitting on %s", device)
    source = of_view(Store.open(a.source), a.view)
    if fitted:
        aligner = fitted.refit_source(source, **settings)
    else:
        target = of_view(Store.open(a.target), a.view)
        if aligner is None:
            aligner = choose(source, target, **options, **settings)
        elif a.matched:
            aligner = fit_on_matches(aligner, source, target, **settings)
        else:
            aligner.fit(source, target, **settings)
    if distributed.rank() == 0:
        aligner.save(a.out)
        print(f"{a.out}: {aligner.summary()}")
        if a.method == AUTO:
            record = aligner.report.details["auto"]
            print(f"chosen: {record['chosen']}; {record['reason']}\n\n{choice_table(record)}")
    distributed.stop()


def describe_options() -> str:
    """Every method's options with their defaults, a line each."""
    lines = []
    for method in ALIGNERS.names():
        try:
            options = fields(ALIGNERS.get(method))  # type: ignore[arg-type]
        except RevisionError as error:  # of another package; asking for it says the same
            lines.append(str(error))
            continue
        lines.append(f"options of {method}:" if options else f"{method} has no options")
        lines += [f"  {each.name}={each.default!r}  {each.metadata.get('help', '')}" for each in options]
    lines += [
        f"options of {AUTO}, which compares methods without pairs and fits the best:",
        f"  candidates={json.dumps(CANDIDATES)}  methods, each with its options",
        f"  rows={SAMPLE_ROWS}  of each corpus, that the choice reads",
    ]
    return "\n".join(lines)


def read_options(pairs: list[str]) -> dict[str, Any]:
    """`NAME=VALUE` words as a dictionary; a value is JSON, or a string where it is none."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise RevisionError(f"--option {pair}: write NAME=VALUE")
        if name in options:
            raise RevisionError(f"--option {pair}: '{name}' is given twice")
        try:
            options[name] = json.loads(value)
        except (ValueError, RecursionError):
            options[name] = value
    return options
