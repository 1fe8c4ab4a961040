"""`revision fit`: an aligner from two unpaired stores, from corpora, or from sums of both."""

from __future__ import annotations

import argparse
import inspect
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
from ..aligners.fitting import MINIMUM_ROWS
from ..aligners.matched_fit import fit_on_matches
from ..aligners.merged_fit import command, merge_fit
from ..aligners.sampled_fit import fit_on_sample
from ..embeddings.addresses import store_name
from ..errors import RevisionError
from .arguments import (
    FlagsOf,
    add_cache_size,
    add_device,
    add_seed,
    add_trackers,
    add_view,
    chosen_trackers,
    share,
    use_consent,
    whole,
)
from .encoded_corpora import NEED_ENCODER, Corpora, add_encoding
from .engine import LOCAL, add_engine, chosen_engine

logger = logging.getLogger(__name__)
METHOD, AUTO = "realign", "auto"
HELD_OUT: float = inspect.signature(Aligner.fit).parameters["held_out"].default


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=store_name, help="text store, or with --encoder a corpus of texts")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--target", type=store_name, help="image store, or with --encoder a corpus of images")
    target.add_argument(
        "--refit-source", type=Path, metavar="ALIGNER", help="keep this aligner's method and target statistics"
    )
    target.add_argument(
        "--merge", type=Path, nargs="+", metavar="FILE", help="fit on what 'revision moments' summed of both"
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
    parser.add_argument(
        "--rows", type=whole(MINIMUM_ROWS), help="fit on so many rows of each corpus, drawn by the seed"
    )
    parser.add_argument(
        "--held-out",
        type=share(0.5),
        help=f"share of both corpora for the held-out report (default {HELD_OUT}; 0 with --merge and --encoder)",
    )
    FlagsOf(parser, merge_fit).add("--measure", help="with --merge: one more pass, for the gap after alignment")
    add_encoding(parser)
    add_seed(FlagsOf(parser, Aligner.fit))
    add_view(parser)
    add_cache_size(parser)
    add_device(parser)
    add_engine(parser)
    add_trackers(parser, "the report's numbers")
    parser.add_argument("--out", type=Path, required=True)


def run(a: argparse.Namespace) -> None:
    use_consent(a)
    require_free(a.out)
    refuse_contradictions(a)
    options = read_options(a.option)
    if a.method == AUTO and (unknown := sorted(set(options) - {"candidates", "rows"})):
        raise RevisionError(f"{AUTO} has no option '{unknown[0]}'; its options: candidates, rows")
    with chosen_trackers(a, "fit") as tracker:
        if a.merge:
            fitted = merge(a, options)
        else:
            with chosen_engine(a):
                fitted = fit(a, options)
        if tracker is not None and fitted is not None:
            tracker.log(fitted.report.scalars, step=0)


def refuse_contradictions(a: argparse.Namespace) -> None:
    """Raise RevisionError for flags of which one would be dropped without a word."""
    if a.refit_source and (a.method or a.option):
        raise RevisionError("--refit-source keeps the method and options of its aligner; leave out yours")
    if a.merge:
        for name in ("source", "matched", "rows", "held_out", "encoder", *NEED_ENCODER, "view", "address", "workers"):
            if getattr(a, name):
                raise RevisionError(f"--{name.replace('_', '-')}: --merge has sums and no rows; leave it out")
        if a.method == AUTO:
            raise RevisionError(f"--merge: {AUTO} compares methods on rows; name one of {', '.join(ALIGNERS.names())}")
        return
    if a.measure:
        raise RevisionError("--measure: is for --merge, all other fits measure the gap; leave it out")
    if a.source is None:
        raise RevisionError("the following arguments are required: --source; see 'revision fit --help'")
    if a.matched and (a.refit_source or a.method == AUTO):
        other = "--refit-source has no images to match" if a.refit_source else f"{AUTO} says itself when to match"
        raise RevisionError(f"--matched: {other}; leave it out")
    chosen = "--refit-source" if a.refit_source else "--matched" if a.matched else AUTO if a.method == AUTO else None
    if a.rows is not None and chosen:
        raise RevisionError(f"--rows: {chosen} draws no rows of both corpora by it; leave it out")
    if a.engine != LOCAL and (a.rows is not None or a.matched or a.method == AUTO):
        what = "--rows" if a.rows is not None else chosen
        raise RevisionError(f"--engine {a.engine}: {what} reads few rows, on this machine; leave one of them out")
    if a.encoder is not None and (a.matched or a.method == AUTO):
        raise RevisionError(f"--encoder: {chosen} reads rows in any order; encode both corpora and fit on the stores")


def merge(a: argparse.Namespace, options: dict[str, Any]) -> Aligner | None:
    """Fit on sums: write the aligner and give it, or write the map for one more pass over the source."""
    aligner = create(ALIGNERS.get(a.method or METHOD), options) if a.method or options else None
    fitted = merge_fit(a.merge, aligner, seed=a.seed, measure=a.measure)
    if isinstance(fitted, Aligner):
        fitted.save(a.out)
        print(f"{a.out}: {fitted.summary()}")
        return fitted
    number = len(fitted.passes) + 2
    path = a.out.with_name(f"{a.out.name}.pass{number}")
    fitted.save(path)
    print(
        f"{path}: '{fitted.aligner.method}' needs pass {number} over the source: '{command(path)}' (or its parts), "
        f"then 'revision fit --merge {path} FILE... --out {a.out}'"
    )
    return None


def fit(a: argparse.Namespace, options: dict[str, Any]) -> Aligner:
    """Fit on the rows of both corpora, and write the aligner."""
    device = choose_device(a.device)
    fitted = load_aligner(a.refit_source) if a.refit_source else None
    aligner = None if a.method == AUTO else fitted or create(ALIGNERS.get(a.method or METHOD), options)
    corpora = Corpora(a, device)
    held_out = a.held_out if a.held_out is not None else HELD_OUT if a.encoder is None else 0.0
    settings: dict[str, Any] = dict(seed=a.seed, held_out=held_out, device=device)
    if a.encoder is not None and aligner is not None and aligner.needs_target_rows and not aligner.reads_covariances:
        raise RevisionError(
            f"'{aligner.method}' with these options reads rows in any order; encode both corpora and fit on the stores"
        )
    distributed.start()
    if distributed.rank() == 0:
        logger.info("fitting on %s", device)
    source = corpora.open(a.source, "text")
    if corpora.encoder is not None:
        settings["encoder"] = corpora.encoder.identity
    if fitted:
        if (identity := settings.pop("encoder", None)) is not None:
            fitted.check_encoder(identity, str(a.source))
        aligner = fitted.refit_source(source, **settings)
    else:
        target = corpora.open(a.target, "image")
        if aligner is None:
            aligner = choose(source, target, **options, **settings)
        elif a.matched:
            aligner = fit_on_matches(aligner, source, target, **settings)
        elif a.rows is not None:
            aligner = fit_on_sample(aligner, source, target, rows=a.rows, **settings)
        else:
            aligner.fit(source, target, **settings)
    if distributed.rank() == 0:
        corpora.log_passes()
        aligner.save(a.out)
        print(f"{a.out}: {aligner.summary()}")
        if a.method == AUTO:
            record = aligner.report.details["auto"]
            print(f"chosen: {record['chosen']}; {record['reason']}\n\n{choice_table(record)}")
    distributed.stop()
    return aligner


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
