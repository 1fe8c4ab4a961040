"""Fits on rows drawn from both corpora, with the standard errors of what they estimate.

Of N rows n are drawn without replacement, so the mean of a quantity q has the standard error
sqrt((1 - n / N) var(q) / n), var with n - 1 (Cochran, Sampling Techniques, 1977, theorem 2.2 and section 2.6). The gap
g = |m_y - m_x| and the trace T = 1 - |m|^2 of unit-norm rows are functions of the means. To first order (the delta
method) they move by the means' errors along their gradients u = (m_y - m_x) / g and -2 m, and both draws are
independent:

    se(g)^2 = (1 - n_y / N_y) var(u.y) / n_y + (1 - n_x / N_x) var(u.x) / n_x
    se(T)^2 = 4 (1 - n / N) var(m.e) / n

so each needs the variance of one product a row. It holds where means are large beside their errors. The error of a
difference of means as a vector has the expected square (1 - n_y / N_y) T_y / n_y + (1 - n_x / N_x) T_x / n_x with the
traces of the covariances; its root is `centroid_error`. A fit on the sample closes the sample's gap and leaves about as
much of the gap on all rows. The length of a vector with errors is too large on average: the sample's g by about
(centroid_error^2 - se(g)^2) / (2 g), the second term of the expansion.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch

from .._common.devices import choose_device
from ..embeddings.float64_blocks import to_float64
from ..embeddings.moments import Moments
from ..embeddings.rows import RandomRows, Rows, as_rows, block_rows, random_positions
from ..encoders import Identity
from ..errors import RevisionError
from .base import Aligner
from .fit_report import SamplingReport
from .fitting import MINIMUM_ROWS, common_encoder

A = TypeVar("A", bound=Aligner)


def fit_on_sample(
    aligner: A,
    source: Any,
    target: Any,
    *,
    rows: int,
    encoder: Identity | str | None = None,
    seed: int = 0,
    held_out: float = 0.1,
    device: torch.device | str | None = None,
) -> A:
    """Fit `aligner` on at most `rows` rows of each corpus, drawn by `seed`, and return it; all else as `Aligner.fit`
    takes it.

    Only these rows are read, so a store is not verified, which would read all. The report's `sampled` has the standard
    errors. Raises RevisionError for fewer than 2 rows and whatever `fit` refuses.
    """
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < MINIMUM_ROWS:
        raise RevisionError(f"rows must be a whole number of at least {MINIMUM_ROWS}, not {rows!r}")
    corpora, place = [as_rows(source), as_rows(target)], choose_device(device)
    identity = common_encoder(corpora[0], corpora[1], encoder)
    drawn = [draw(each, rows, seed) for each in corpora]
    aligner.fit(*drawn, encoder=identity, seed=seed, held_out=held_out, device=place)
    means = aligner.parameters["source_mean"], aligner.parameters["target_mean"]
    sampled = sampling_report(drawn, means, [len(each) for each in corpora])
    aligner._report = replace(aligner.report, sampled=sampled)
    return aligner


def draw(rows: Rows, count: int, seed: int) -> Rows:
    """`count` rows of `rows`, drawn without replacement by `seed`; all of them where there are no more."""
    subset = getattr(rows, "subset", None)  # of rows that are made as they are read
    if subset is not None:
        return subset(random_positions(len(rows), count, seed))
    return RandomRows(rows, count, seed)


def sampling_report(drawn: list[Rows], means: tuple[np.ndarray, np.ndarray], totals: list[int]) -> SamplingReport:
    """Standard errors of a gap and of traces from rows drawn of source and target, whose `means` [d] are of unit-norm
    rows, out of so many.
    """
    gap = means[0] - means[1]
    size = float(np.linalg.norm(gap))
    directions = gap / size if size else gap
    gap_square, centroid_square = 0.0, 0.0
    trace_errors = []
    for rows, mean, total in zip(drawn, means, totals):
        count = len(rows)
        share = (1 - count / total) / count
        along_gap, along_mean = product_variances(rows, mean, np.stack([directions, mean]))
        gap_square += share * along_gap
        centroid_square += share * Moments(count, mean * count).trace * count / (count - 1)
        trace_errors.append(2 * math.sqrt(share * along_mean))
    return SamplingReport(
        source_rows=totals[0],
        target_rows=totals[1],
        gap_error=math.sqrt(gap_square),
        centroid_error=math.sqrt(max(centroid_square, 0.0)),
        source_trace_error=trace_errors[0],
        target_trace_error=trace_errors[1],
    )


def product_variances(rows: Rows, mean: np.ndarray, directions: np.ndarray) -> list[float]:
    """Variances [k] of the products of unit-norm rows, whose mean is `mean` [d], with `directions` [k, d]."""
    squares, vectors = torch.zeros(len(directions), dtype=torch.float64), torch.from_numpy(directions)
    centre = vectors @ torch.from_numpy(mean)
    for block in rows.blocks(block_rows(rows.dim)):
        x = to_float64(block)
        products = (x @ vectors.T) / torch.linalg.vector_norm(x, dim=1, keepdim=True)
        squares += (products - centre).square_().sum(0)
    return (squares / (len(rows) - 1)).tolist()
