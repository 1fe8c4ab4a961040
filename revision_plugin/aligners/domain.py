"""Whether an aligner's statistics still describe a corpus: the papers' domain transfer, as a guard.

A shift of the source mean moves the aligned centroid by as much, times the aligner's scale. It matters where it is
both beyond sampling noise and a real part of the gap that the aligner is there to close.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..embeddings.moments import stream_moments
from ..embeddings.rows import EveryNth, Rows
from .base import Aligner
from .fit_report import MATCHED

STANDARD_ERRORS = 5.0
SHARE_OF_GAP = 0.1
SAMPLE_ROWS = 65536

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DomainShift:
    """How far a corpus' mean is from the fitted source mean: as a norm, in standard errors, and of the fitted gap."""

    distance: float
    standard_errors: float
    share_of_gap: float

    @property
    def is_far(self) -> bool:
        return self.standard_errors > STANDARD_ERRORS and self.share_of_gap > SHARE_OF_GAP


def domain_shift(aligner: Aligner, rows: Rows) -> DomainShift:
    """Compare the mean of `rows` (a systematic sample of a large corpus) with the aligner's fitted source mean.

    The standard error of the difference of two means of unit-norm rows is sqrt(T_1 / N_1 + T_2 / N_2), with traces T.
    """
    if len(rows) >= 2 * SAMPLE_ROWS:
        rows = EveryNth(rows, len(rows) // SAMPLE_ROWS, chosen=True)
    moments, fitted = stream_moments(rows), aligner.report.source
    distance = float(np.linalg.norm(moments.mean - aligner.parameters["source_mean"]))
    error = math.sqrt(max(fitted.trace / fitted.count + moments.trace / moments.count, np.finfo(float).tiny))
    gap = aligner.report.centroid_gap_before
    return DomainShift(distance, distance / error, distance / gap if gap else math.inf)


def warn_if_far(aligner: Aligner, rows: Rows, *, corpus: Path | str, aligner_path: Path | str) -> None:
    """Log one warning, with the figures and the command that refits, where `rows` are of another domain."""
    if not aligner.uses_statistics or MATCHED in aligner.report.details:
        return  # of matched rows the mean is not the corpus' on purpose
    shift = domain_shift(aligner, rows)
    if shift.is_far:
        other = f"--refit-source {aligner_path}"
        if aligner.needs_target_rows:
            other = f"--method {aligner.method} --target IMAGE_STORE"
        view = f" --view {chosen}" if (chosen := getattr(rows, "view", None)) else ""
        logger.warning(
            f"warning: {corpus}: the mean of these texts is {shift.distance:.3g} from that of the texts "
            f"{aligner_path} was fitted on: {shift.standard_errors:.0f} standard errors and "
            f"{shift.share_of_gap:.0%} of "
            f"the centroid gap (limits: {STANDARD_ERRORS:.0f} and {SHARE_OF_GAP:.0%}); fit an aligner for them: "
            f"revision fit {other} --source {corpus}{view} --out NEW"
        )
