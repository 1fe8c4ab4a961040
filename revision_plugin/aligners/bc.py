"""Blockwise covariance alignment, the papers' failing control (ReVision, appendix F)."""

from __future__ import annotations

import numpy as np

from ..embeddings.moments import stream_moments
from ..errors import RevisionError
from .base import ALIGNERS, Aligner, dominant_directions, unit
from .mean_shift import MeanShift


@ALIGNERS.register("bc")
class BlockwiseCovariance(Aligner):
    """Anchor, then whiten and colour on the dominant subspace U and on its complement V, then recentre.

    `energy` fixes U: the top eigenvectors of Cov(e_y) + Cov(e_x) that hold this share of the trace. `ridge` is
    added to the source's eigenvalues, relative to the block's mean eigenvalue; `shrinkage` is scikit-learn's
    `shrunk_covariance` coefficient, for both modalities. Both are off by default: the instability of the bare
    inverse is the point of the control (F.4).
    """

    method = "bc"
    needs_target_rows = True

    @classmethod
    def default_options(cls) -> dict:
        return {"energy": 0.9, "ridge": 0.0, "shrinkage": 0.0}

    @classmethod
    def compute(cls, source, source_moments, target, target_moments, *, seed, device, energy, ridge, shrinkage):
        from sklearn.covariance import shrunk_covariance

        for name, value, high in (("energy", energy, 1), ("ridge", ridge, np.inf), ("shrinkage", shrinkage, 1)):
            if not isinstance(value, (int, float)) or not 0 <= value <= high:
                raise RevisionError(f"{name} must be a number between 0 and {high}, not {value!r}")
        shift = target_moments.mean - source_moments.mean
        anchored = MeanShift(source.dim, {"shift": shift}, {})  # eq. (57)
        source_covariance = stream_moments(source, covariance=True, device=device).covariance
        anchored_covariance = stream_moments(
            source, covariance=True, transform=anchored.mapping, device=device
        ).covariance
        target_covariance = stream_moments(target, covariance=True, device=device).covariance
        vectors, rank = dominant_directions(source_covariance + target_covariance, energy)
        linear = np.zeros((source.dim, source.dim))
        for basis in (vectors[:, :rank], vectors[:, rank:]):
            if basis.shape[1] == 0:
                continue
            blocks = [basis.T @ c @ basis for c in (anchored_covariance, target_covariance)]
            own, wanted = (shrunk_covariance(block, shrinkage) if shrinkage else block for block in blocks)
            floor = ridge * np.trace(own) / len(own)
            linear += basis @ _power(wanted, 0.5) @ _power(own + floor * np.eye(len(own)), -0.5) @ basis.T  # eq. (60)
        parameters = {"shift": shift, "linear": linear, "recentre": np.zeros(source.dim)}
        drifted = stream_moments(source, transform=cls(source.dim, parameters, {}).mapping, device=device).mean
        return {**parameters, "recentre": target_moments.mean - drifted}  # eq. (62)

    def align(self, x, parameters, *, training=False):
        anchored = unit(x + parameters["shift"])  # eq. (57)
        aligned = unit(anchored @ parameters["linear"].T)  # eq. (61)
        return unit(aligned + parameters["recentre"])


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a symmetric positive semi-definite matrix; null directions stay null."""
    values, vectors = np.linalg.eigh(matrix)
    floor = np.finfo(float).eps * max(values.max(), 0) * len(values)
    powered = np.where(values > floor, np.maximum(values, floor) ** exponent, 0.0)
    return (vectors * powered) @ vectors.T
