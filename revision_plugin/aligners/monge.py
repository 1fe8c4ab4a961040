"""Gaussian optimal transport: the Monge map between the two covariances in place of ReAlign's one scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.covariance import shrunk_covariance

from ..embeddings.maps import LinearMap
from ..embeddings.moments import Moments, stream_moments
from ..embeddings.rows import RandomRows
from .base import ALIGNERS, Aligner, option, unit
from .covariances import dominant_directions, ledoit_wolf, power, powers
from .realign import shifted, trace_scale, with_centroid_shifts

FEW_ROWS = 5  # a dimension; below it a fit says so
ENOUGH_ROWS = 10  # a dimension; below it the estimated shrinkage is raised


@ALIGNERS.register("monge")
class Monge(Aligner):
    """e' = n(mu_x + (t A + (1 - t) s I)(e_y - mu_y)), then ReAlign's step 3; s is ReAlign's scale, t is `blend`.

    A = S_y^(-1/2) (S_y^(1/2) S_x S_y^(1/2))^(1/2) S_y^(-1/2) is the optimal transport map between Gaussians with the
    covariances S_y and S_x (Peyre and Cuturi, arXiv 1803.00567, section 2.6): symmetric, and of all linear maps that
    give the source the target's covariance the one that moves it least. Proportional covariances give A = s I.

    Both covariances are shrunk towards their mean eigenvalue by one coefficient: the larger of Ledoit and Wolf's two,
    and at least 1 - r / 10 where the smaller corpus has r rows a dimension. Theirs serves the covariance, not the map,
    which with few rows it leaves worse than ReAlign's (docs/monge.md). At 1 the map is ReAlign's.

    With `energy` below 1 A is computed on the top eigenvectors of S_y + S_x alone, and is one scalar on the others.
    Directions in which the source does not vary, which only a shrinkage of 0 can leave, keep the scale s.

    `covariance_rows` reads covariances from a sample without replacement of that many rows; means and traces stay those
    of all rows. Of n rows out of N a variance has the relative standard error sqrt((kurtosis - 1) (1 - n / N) / n), at
    most sqrt(2 / n) for Gaussian rows, and the shrinkage is that of n rows.
    """

    method = "monge"
    needs_target_rows = True

    shrinkage: float | None = option(
        None, "of both covariances towards their mean eigenvalue; None (null) estimates it", low=0, high=1
    )
    blend: float = option(1.0, "share of the Monge map; 0 is ReAlign", low=0, high=1)
    energy: float = option(
        1.0, "map the top eigenvectors of Cov(e_y) + Cov(e_x) with this share of the trace", above=0, high=1
    )
    centroid_rounds: int = option(1, "times ReAlign's step 3 is done; 0 leaves it out", low=0, high=100)
    covariance_rows: float | None = option(
        None, "rows of each corpus, drawn by the seed, that covariances are read from; None (null) takes all", low=2
    )

    @property
    def reads_covariances(self):
        return self.covariance_rows is None

    def compute(self, source, source_moments, target, target_moments, *, seed, device):
        scale = trace_scale(source_moments, target_moments)
        corpora = [source_moments, target_moments]
        if self.covariance_rows is not None:
            samples = [RandomRows(rows, int(self.covariance_rows), seed) for rows in (source, target)]
            corpora = [stream_moments(rows, covariance=True, device=device) for rows in samples]
        shrinkage = self._coefficient(corpora)
        mapped = self._map(corpora[0].covariance, corpora[1].covariance, shrinkage, scale)
        parameters = {
            "source_mean": source_moments.mean,
            "target_mean": target_moments.mean,
            "linear": self.blend * mapped + (1 - self.blend) * scale * np.eye(source.dim),
            "shrinkage": shrinkage,
            "rows_per_dimension": [moments.count / source.dim for moments in corpora],
        }
        return with_centroid_shifts(self, parameters, source, self.centroid_rounds, device)

    def _coefficient(self, corpora: list[Moments]) -> float:
        if self.shrinkage is not None:
            return self.shrinkage
        rows = min(moments.count for moments in corpora) / len(corpora[0].total)
        return max(*map(ledoit_wolf, corpora), 1 - rows / ENOUGH_ROWS)

    def _map(self, source: np.ndarray, target: np.ndarray, shrinkage: float, scale: float) -> np.ndarray:
        """A [d, d] of the covariances of source and target."""
        text, image = (shrunk_covariance(covariance, shrinkage) for covariance in (source, target))
        if self.energy == 1:
            return monge_map(text, image, scale)
        vectors, rank = dominant_directions(source + target, self.energy)
        dominant, rest = vectors[:, :rank], vectors[:, rank:]
        on_dominant = monge_map(dominant.T @ text @ dominant, dominant.T @ image @ dominant, scale)
        linear = dominant @ on_dominant @ dominant.T
        source_trace, target_trace = (np.einsum("ij,ij->", rest, c @ rest) for c in (text, image))
        varies = source_trace > _rounding(rest)
        return linear + (np.sqrt(target_trace / source_trace) if varies else scale) * (rest @ rest.T)

    def align(self, x, parameters, *, training=False):
        moved = parameters["target_mean"] + (x - parameters["source_mean"]) @ parameters["linear"].T
        return shifted(unit(moved), parameters["centroid_shifts"])

    def linear_map(self):
        p = self.parameters
        return LinearMap(-p["source_mean"], False, p["linear"], p["target_mean"], p["centroid_shifts"])

    @property
    def final_shifts(self):
        return self.parameters["centroid_shifts"]

    @property
    def details(self) -> dict[str, Any]:
        rows = zip(("source", "target"), self.parameters["rows_per_dimension"].tolist())
        return {"shrinkage_used": self.parameters["shrinkage"].item(), "rows_per_dimension": dict(rows)}

    def remarks(self) -> list[str]:
        counts = [round(rows * self.dim) for rows in self.parameters["rows_per_dimension"].tolist()]
        if min(counts) >= FEW_ROWS * self.dim:
            return []
        used = f"shrinkage {self.parameters['shrinkage'].item():.3g}"
        estimated = f"{used} brings the map near ReAlign's"
        given = f"{used}, as you give it, may do worse than ReAlign"
        return [
            f"monge: {counts[0]} source and {counts[1]} target rows are fewer than {FEW_ROWS} for each of {self.dim} "
            f"dimensions; {estimated if self.shrinkage is None else given}: fit on {FEW_ROWS * self.dim} rows or more "
            "of both, or with realign"
        ]


def monge_map(source: np.ndarray, target: np.ndarray, scale: float) -> np.ndarray:
    """The symmetric map [d, d] from one covariance to the other; `scale` where the source does not vary."""
    root, inverse, varying = powers(source, 0.5, -0.5, 0, floor=_rounding(source))
    linear = inverse @ power(root @ target @ root, 0.5) @ inverse + scale * (np.eye(len(source)) - varying)
    return (linear + linear.T) / 2


def _rounding(matrix: np.ndarray) -> float:
    """What rounding leaves of a null direction of covariances [d, d]: unit-norm rows' second moments are up to one."""
    return np.finfo(float).eps * len(matrix)
