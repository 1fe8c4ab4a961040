"""Fits on what the dual encoder matches: texts and images that are each other's nearest.

Statistics of whole corpora hold a difference in what they are about, and every map copies some of it. Of the rows that
the encoder matches both sides are about the same things, so their statistics differ by modality alone. These are not
pairs: no text was written about its match (docs/choosing.md has what it wins and costs).
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch

from ..embeddings.rows import ChosenRows, RandomRows, Rows, as_rows, block_rows
from ..embeddings.verification import verified
from ..encoders import Identity
from ..errors import RevisionError
from .base import Aligner
from .fit_report import MATCHED
from .fitting import add_detail, common_encoder
from .matching import mutual_matches
from .realign import LEAST_TRACE

SAMPLE_ROWS = 20000  # of each corpus, among which matches are sought: each is compared with each
LEAST_MATCHES = 24
A = TypeVar("A", bound=Aligner)


def fit_on_matches(
    aligner: A,
    source: Any,
    target: Any,
    *,
    rows: int = SAMPLE_ROWS,
    encoder: Identity | str | None = None,
    seed: int = 0,
    held_out: float = 0.1,
    device: torch.device | str | None = None,
) -> A:
    """Fit `aligner` on the rows of both corpora that the encoder matches, and return it.

    Matches are sought among at most `rows` rows of each corpus, drawn by `seed`; all else as `Aligner.fit` takes it.
    The report counts the rows that were fitted on and says of how many they were chosen, under `matched`.
    Raises RevisionError for fewer than 24 matches and whatever `fit` refuses.
    """
    corpora = [as_rows(source), as_rows(target)]
    identity = common_encoder(corpora[0], corpora[1], encoder)
    samples = [unit_sample(role, each, rows, seed) for role, each in zip(("source", "target"), corpora)]
    return fit_on_matches_of(samples, aligner, corpora, encoder=identity, seed=seed, held_out=held_out, device=device)


def fit_on_matches_of(
    samples: list[tuple[np.ndarray, np.ndarray]], aligner: A, corpora: list[Rows], **settings: Any
) -> A:
    """`fit_on_matches` among rows that `unit_sample` has read of both; `settings` are those of `Aligner.fit`."""
    (texts, drawn_texts), (images, drawn_images) = samples
    matched = mutual_matches(texts, images)
    if len(matched[0]) < LEAST_MATCHES:
        raise RevisionError(
            f"the encoder matches {len(matched[0])} of {len(texts)} texts and {len(images)} images; a fit on matches "
            f"needs {LEAST_MATCHES}: give larger corpora, or fit on all rows"
        )
    chosen = (ChosenRows(corpora[0], drawn_texts[matched[0]]), ChosenRows(corpora[1], drawn_images[matched[1]]))
    with verified(*corpora):
        aligner.fit(*chosen, **settings)
    add_detail(aligner, MATCHED, {"source": len(texts), "target": len(images)})
    return aligner


def unit_sample(role: str, rows: Rows, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` rows drawn by `seed`, unit-norm float64 [n, d] in their order, and their positions [n].

    Raises RevisionError for rows that are zero or not finite, or that do not vary.
    """
    drawn = RandomRows(rows, count, seed)
    array = np.concatenate([np.asarray(block, np.float64) for block in drawn.blocks(block_rows(rows.dim))])
    norms = np.linalg.norm(array, axis=1, keepdims=True)
    usable = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
    if not usable.all():
        row = drawn.positions[int((~usable).argmax())]
        raise RevisionError(f"embedding row {row} is zero or not finite; encode that item again or remove it")
    array /= norms
    if array.var(0).sum() < LEAST_TRACE:
        raise RevisionError(f"the {role} does not vary; give a corpus of many different items")
    return array, drawn.positions
