"""One fit: checks the corpora, computes the map, and measures it on all rows and on rows held out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import encoders
from .._common import distributed
from ..embeddings.item_views import require_same_view
from ..embeddings.moments import Moments, stream_moments
from ..embeddings.rows import EveryNth, Rows
from ..embeddings.store import Store
from ..encoders import Identity, require_same
from ..errors import RevisionError
from .fit_report import CorpusReport, FitReport, HeldOutReport
from .noisy import NoisyRows

if TYPE_CHECKING:
    from .base import Aligner

MINIMUM_ROWS = 2
HELD_OUT_TOLERANCE = 0.05
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fit:
    """One fit of `aligner`'s method and options; `target` is None where only its moments are known."""

    aligner: Aligner
    target: Rows | None
    target_moments: Moments
    about_target: CorpusReport
    encoder: Identity | None
    seed: int
    held_out: float
    device: torch.device

    def run(self, source: Rows) -> Any:
        """A new aligner with its report."""
        if not 0 <= self.held_out <= 0.5:
            raise RevisionError(f"the held-out share must be between 0 and 0.5, not {self.held_out}")
        moments = stream_moments(source, covariance=self.aligner.reads_covariances, device=self.device)
        aligner = self._compute(source, moments, self.target, self.target_moments)
        aligned = self._aligned(source, aligner) if getattr(source, "measured", True) else None
        gap = None if aligned is None else float(np.linalg.norm(aligned.mean - self.target_moments.mean))
        shifts = aligner.final_shifts
        aligner._report = FitReport(
            seed=self.seed,
            encoder=self.encoder,
            source=CorpusReport.of(source, moments),
            target=self.about_target,
            centroid_gap_before=float(np.linalg.norm(moments.mean - self.target_moments.mean)),
            centroid_gap=gap,
            held_out=self._held_out(source, moments),
            aligned_trace=None if aligned is None else aligned.trace,
            phantom_drift=None if shifts is None else float(np.linalg.norm(shifts[0])) if len(shifts) else gap,
            details=aligner.details,
        )
        if distributed.rank() == 0:
            for remark in aligner.remarks():
                logger.warning(remark)
        return aligner

    def _compute(self, source: Rows, source_moments: Moments, target: Rows | None, target_moments: Moments) -> Aligner:
        settings: dict[str, Any] = dict(seed=self.seed, device=self.device)
        return _computed(self.aligner, source, source_moments, target, target_moments, **settings)

    def _aligned(self, source: Rows, aligner: Aligner) -> Moments:
        """Moments of the source as training sees it: with the noise of a method that has one, by the fit's seed."""
        if aligner.noise_in_training:
            return stream_moments(NoisyRows(source, aligner, self.seed), device=self.device)
        return stream_moments(source, transform=aligner.mapping, device=self.device)

    def _held_out(self, source: Rows, source_moments: Moments) -> HeldOutReport | None:
        """The gap on rows that a fit has not seen; None where that was not asked for or has too few rows."""
        period = round(1 / self.held_out) if self.held_out else 0
        corpora = [source] if self.target is None else [source, self.target]
        if not period:
            return None
        if min(len(rows) for rows in corpora) < MINIMUM_ROWS * period:
            logger.info("no held-out report: a share of %g needs %d rows", self.held_out, MINIMUM_ROWS * period)
            return None
        if abs(1 / period - self.held_out) > HELD_OUT_TOLERANCE * self.held_out:
            logger.info("held out: one row in %d, which is nearest to a share of %g", period, self.held_out)
        fitted, unseen = ([EveryNth(rows, period, chosen=chosen) for rows in corpora] for chosen in (False, True))
        unseen_moments = [
            stream_moments(rows, covariance=self.aligner.reads_covariances, device=self.device) for rows in unseen
        ]
        seen_source = source_moments.minus(unseen_moments[0])
        if self.target is None:
            target, seen_target, unseen_target = None, self.target_moments, self.target_moments
        else:
            unseen_target = unseen_moments[1]
            target, seen_target = fitted[1], self.target_moments.minus(unseen_target)
        aligner = self._compute(fitted[0], seen_source, target, seen_target)
        aligned = self._aligned(unseen[0], aligner)
        return HeldOutReport(
            source_rows=len(unseen[0]),
            target_rows=unseen_target.count,
            centroid_gap=float(np.linalg.norm(aligned.mean - unseen_target.mean)),
            trace=aligned.trace,
            target_trace=unseen_target.trace,
        )


def fit_without_report(aligner: Aligner, source: Rows, target: Rows, *, seed: int, device: torch.device) -> Any:
    """A copy of `aligner`, fitted on both; it measures nothing, checks nothing and logs nothing."""
    moments = [stream_moments(rows, covariance=aligner.reads_covariances, device=device) for rows in (source, target)]
    return _computed(aligner, source, moments[0], target, moments[1], seed=seed, device=device)


def _computed(
    aligner: Aligner,
    source: Rows,
    source_moments: Moments,
    target: Rows | None,
    target_moments: Moments,
    **settings: Any,
) -> Aligner:
    """A copy of `aligner` with the parameters that it computes."""
    computed = aligner.compute(source, source_moments, target, target_moments, **settings)
    means = {"source_mean": source_moments.mean, "target_mean": target_moments.mean}
    return aligner.with_parameters(source.dim, {**means, **computed})


def add_detail(aligner: Aligner, name: str, value: Any) -> None:
    """Add to the report of a fitted aligner."""
    aligner._report = replace(aligner.report, details={**aligner.report.details, name: value})


def require_rows(role: str, count: int) -> None:
    """Raise RevisionError for a corpus too small to fit on."""
    if count < MINIMUM_ROWS:
        raise RevisionError(f"the {role} has {count} row(s); fitting needs at least {MINIMUM_ROWS}")


def require_role(role: str, rows: Rows) -> None:
    """`require_rows`, and where the corpus is a store that it can play this role: the source is text, the target
    images.
    """
    if isinstance(rows, Store):
        rows.require({"source": "text", "target": "image"}[role], f"the {role}")
    require_rows(role, len(rows))


def common_encoder(source: Rows, target: Rows, encoder: Identity | str | None) -> Identity | None:
    """The encoder of both corpora. Raises RevisionError for corpora that cannot be fitted on together."""
    require_role("source", source)
    require_role("target", target)
    if source.dim != target.dim:
        raise RevisionError(
            f"source and target differ in dimension: {source.dim} and {target.dim}; encode both with one encoder"
        )
    stores = [rows for rows in (source, target) if isinstance(rows, Store)]
    if len(stores) == 2:
        first, second = stores
        require_same_view(str(first.path), first.view, str(second.path), second.view)
    identities = [store.encoder for store in stores]
    if encoder is not None:
        identities.append(encoders.load_encoder(encoder).identity if isinstance(encoder, str) else encoder)
    for other in identities[1:]:
        require_same(
            identities[0], other, "source and target come from different encoders", "encode both with one encoder"
        )
    return identities[0] if identities else None
