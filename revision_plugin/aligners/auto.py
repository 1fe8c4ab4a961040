"""Chooses an aligner without pairs: candidates are compared on held-out rows, and the best is fitted on all rows.

Where the rows that the dual encoder matches are a random sample of both corpora, the corpora are about the same things,
and the candidate wins whose aligned texts come nearest to the images as a distribution: least Frechet distance on rows
its fit has not seen. Elsewhere the corpora may differ in content, which such a distance rewards copying, or the encoder
finds some rows more easily than others, which looks the same: one candidate is fitted on the matched rows alone, the
one that does best there on the mean of what was measured (docs/choosing.md).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from .._common import distributed
from .._common.devices import choose_device
from .._common.markdown import table
from .._common.progress import track
from ..embeddings.rows import ArrayRows, Rows, as_rows
from ..encoders import Identity
from ..errors import RevisionError
from .base import ALIGNERS, Aligner, create
from .criteria import LEAST_ROWS, PairwiseCriteria, gaussian_distances
from .fitting import add_detail, common_encoder, fit_without_report
from .matched_fit import SAMPLE_ROWS, fit_on_matches_of, unit_sample
from .matching import content_shift, mutual_matches

logger = logging.getLogger(__name__)
DEFAULT = "realign"
ON_MATCHES = "monge shrinkage=0.9"  # what is fitted on matched rows; ReAlign where it is no candidate
CANDIDATES = ("none", "mean_shift", DEFAULT, "monge", "monge blend=0.5", ON_MATCHES)
CORPORA = {"texts": "source", "images": "target"}
PAIRWISE_ROWS = 2000  # of these, where every row is compared with every other
DISTANCE = "frechet_distance"  # what decides
SHOWN = (DISTANCE, "sliced_wasserstein", "covariance_distance", "coverage", "similarity_correlation", "kept_neighbours")


def choose(
    source: Any,
    target: Any,
    *,
    candidates: Sequence[str] = CANDIDATES,
    rows: int = SAMPLE_ROWS,
    encoder: Identity | str | None = None,
    seed: int = 0,
    held_out: float = 0.1,
    device: torch.device | str | None = None,
) -> Aligner:
    """The best of `candidates` for these unpaired corpora, fitted on all rows; `report.details["auto"]` says why.

    A candidate is a method, with options where it has some: "monge blend=0.5". At most `rows` rows of each corpus,
    drawn by `seed`, decide: candidates are fitted on one half and measured on the other, both ways. All else as
    `Aligner.fit` takes it. ReAlign, which must be among them, wins ties, and a candidate that is not better on both
    halves ties with it. Where the rows that the encoder matches are no random sample, `ON_MATCHES` is fitted on these
    (`matched_fit`), and a warning says so.
    Raises RevisionError for fewer than two candidates, an unknown one, fewer than 24 rows, and whatever `fit` refuses.
    """
    aligners = read_candidates(candidates)
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 2 * LEAST_ROWS:
        raise RevisionError(f"auto: rows must be a whole number of at least {2 * LEAST_ROWS}, not {rows!r}")
    corpora, place = [as_rows(source), as_rows(target)], choose_device(device)
    identity = common_encoder(corpora[0], corpora[1], encoder)
    samples = [_sample(role, each, rows, seed) for role, each in zip(CORPORA.values(), corpora)]
    shuffled = (array[np.random.default_rng(seed).permutation(len(array))] for array, _ in samples)
    record = compare(aligners, *shuffled, seed=seed, device=place)
    if record["other_content"] and distributed.rank() == 0:
        logger.warning(f"auto: {record['reason']}; see docs/choosing.md")
    chosen = aligners[record["chosen"]]
    settings: dict[str, Any] = dict(encoder=identity, seed=seed, held_out=held_out, device=place)
    if record["other_content"]:
        fit_on_matches_of(samples, chosen, corpora, **settings)
    else:
        chosen.fit(*corpora, **settings)
    add_detail(chosen, "auto", record)
    return chosen


def compare(
    aligners: dict[str, Aligner],
    source: np.ndarray,
    target: np.ndarray,
    *,
    seed: int,
    device: torch.device,
    show: bool = True,
) -> dict[str, Any]:
    """The choice among `aligners` for unit-norm rows [n, d] and [m, d] in random order, as plain values: `chosen`,
    `reason`, the content test of both corpora, whether it says `other_content`, and every quantity of every candidate,
    the mean of both halves. `show` is for progress.
    """
    content = content_test(source, target, seed=seed)
    show = show and distributed.rank() == 0
    with track("candidates", total=2 * len(aligners), unit="fit", show=show, delay=2) as advance:
        halves = [_half(aligners, source, target, fold, seed, device, advance) for fold in (0, 1)]
    other = [corpus for corpus, name in CORPORA.items() if content[name]["differs"]]
    if other:
        chosen = ON_MATCHES if ON_MATCHES in aligners else DEFAULT
        sample = f"the {' and '.join(other)} that the encoder matches are no random sample"
        why = "the corpora differ in content, or some rows are more easily found"
        reason = f"{sample} ({why}), so {chosen} is fitted on these"
    else:
        chosen, reason = by_distance([{name: each[DISTANCE] for name, each in half.items()} for half in halves])
    return {
        "chosen": chosen,
        "reason": reason,
        "other_content": bool(other),
        "rows": {"source": len(source), "target": len(target)},
        "content": content,
        "candidates": {
            name: {key: float(np.mean([half[name][key] for half in halves])) for key in halves[0][name]}
            for name in aligners
        },
    }


def content_test(source: np.ndarray, target: np.ndarray, *, seed: int) -> dict[str, dict[str, Any]]:
    """For `source` and `target` whether the rows that the encoder matches are a random sample of the corpus."""
    parts = source[:PAIRWISE_ROWS], target[:PAIRWISE_ROWS]
    shifts = [content_shift(part, rows, seed=seed) for part, rows in zip(parts, mutual_matches(*parts))]
    return {name: {**asdict(each), "differs": each.differs} for name, each in zip(CORPORA.values(), shifts)}


def by_distance(halves: list[dict[str, float]]) -> tuple[str, str]:
    """The candidate with the least distance, the mean of both halves, and why; ReAlign unless both say so."""
    totals = {name: sum(half[name] for half in halves) for name in halves[0]}
    best = min(totals, key=lambda name: (totals[name], name != DEFAULT))
    if best != DEFAULT and not all(half[best] < half[DEFAULT] for half in halves):
        return DEFAULT, f"{best} is not nearer to held-out images than {DEFAULT} on both halves of the rows"
    least = f"the least Frechet distance to held-out images ({totals[best] / len(halves):.4g})"
    return best, f"the corpora seem to be about the same things, and {best} has {least}"


def choice_table(record: dict[str, Any]) -> str:
    """The candidates of a choice as a table, the chosen one first."""
    rows = sorted(record["candidates"].items(), key=lambda each: each[0] != record["chosen"])
    lines = [[name, *(f"{values[key]:.4f}" for key in SHOWN)] for name, values in rows]
    return table(["candidate", *(key.replace("_", " ") for key in SHOWN)], lines)


def read_candidates(candidates: Sequence[str]) -> dict[str, Aligner]:
    """Unfitted aligners by candidate: a method, then NAME=VALUE words with JSON values. Raises RevisionError for a list
    that cannot be compared.
    """
    names = list(candidates) if isinstance(candidates, (list, tuple)) else []
    if len(names) < 2 or not all(isinstance(name, str) and name.split() for name in names):
        shown = json.dumps(list(CANDIDATES[2:4]))
        raise RevisionError(f"auto: candidates must be a list of two methods or more, such as {shown}")
    aligners: dict[str, Aligner] = {}
    for name in names:
        method, *words = name.split()
        options = {}
        for word in words:
            option, equals, value = word.partition("=")
            try:
                options[option] = json.loads(value)
            except ValueError:
                raise RevisionError(f"auto: candidate '{name}': write '{method} NAME=VALUE', a value as JSON") from None
        key = " ".join([method, *words])
        if key in aligners:
            raise RevisionError(f"auto: candidate '{key}' is given twice")
        aligners[key] = create(ALIGNERS.get(method), options)
    if DEFAULT not in aligners:
        raise RevisionError(f"auto: candidates must have '{DEFAULT}' among them: it is kept where nothing says better")
    return aligners


def _sample(role: str, rows: Rows, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`unit_sample` of a corpus that is large enough to choose by."""
    if min(len(rows), count) < 2 * LEAST_ROWS:
        raise RevisionError(f"auto compares aligners on {2 * LEAST_ROWS} rows of each corpus or more, not {len(rows)}")
    return unit_sample(role, rows, count, seed)


def _half(aligners, source, target, fold: int, seed: int, device, advance) -> dict[str, dict[str, float]]:
    """Every candidate's quantities on half `fold` of the rows, fitted on the other half."""
    (texts, images), (fitted_texts, fitted_images) = (
        [rows[: len(rows) // 2] if first else rows[len(rows) // 2 :] for rows in (source, target)]
        for first in (fold == 0, fold != 0)
    )
    pairwise = PairwiseCriteria(texts[:PAIRWISE_ROWS], images[:PAIRWISE_ROWS], seed=seed)
    measured = {}
    for name, aligner in aligners.items():
        rows = ArrayRows(fitted_texts), ArrayRows(fitted_images)
        aligned = fit_without_report(aligner, *rows, seed=seed, device=device).transform(texts)
        measured[name] = {**gaussian_distances(aligned, images), **pairwise.of(aligned[:PAIRWISE_ROWS])}
        advance(1)
    return measured
