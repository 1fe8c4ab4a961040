"""Blockwise covariance alignment, the papers' failing control (ReVision, appendix F)."""

from __future__ import annotations

import numpy as np

from ..errors import RevisionError
from ..moments import stream_moments
from .base import ALIGNERS, Aligner, unit


@ALIGNERS.register("bc")
class BlockwiseCovariance(Aligner):
    """Anchor, then whiten and colour on the dominant subspace U and on its complement V, then recentre.

    `energy` fixes U: the top eigenvectors of Cov(e_y) + Cov(e_x) that hold this share of the trace. `ridge` is
    added to the source's eigenvalues, relative to the block's mean eigenvalue; `shrinkage` is scikit-learn's
    `shrunk_covariance` coefficient, for both modalities. Both are off by default: the instability of the bare
    inverse is the point of the control (F.4).
    """

    method = "bc"

    @classmethod
    def default_options(cls) -> dict:
        return {"energy": 0.9, "ridge": 0.0, "shrinkage": 0.0}

    @classmethod
    def compute(cls, source, source_moments, target, target_moments, *, seed, energy, ridge, shrinkage):
        from sklearn.covariance import shrunk_covariance

        for name, value, high in (("energy", energy, 1), ("ridge", ridge, np.inf), ("shrinkage", shrinkage, 1)):
            if not isinstance(value, (int, float)) or not 0 <= value <= high:
                raise RevisionError(f"{name} must be a number between 0 and {high}, not {value!r}")
        target_mean = target_moments.mean
        anchored = cls(source.dim, {"shift": target_mean - source_moments.mean}, {})
        source_covariance = stream_moments(source, covariance=True).covariance
        anchored_covariance = stream_moments(source, covariance=True, transform=anchored._anchor_array).covariance
        target_covariance = stream_moments(target, covariance=True).covariance
        values, vectors = np.linalg.eigh(source_covariance + target_covariance)
        values, vectors = values[::-1].clip(0), vectors[:, ::-1]
        rank = int(np.searchsorted(np.cumsum(values) / values.sum(), energy)) + 1
        linear = np.zeros((source.dim, source.dim))
        for basis in (vectors[:, :rank], vectors[:, rank:]):
            if basis.shape[1] == 0:
                continue
            blocks = [basis.T @ c @ basis for c in (anchored_covariance, target_covariance)]
            own, wanted = (shrunk_covariance(block, shrinkage) if shrinkage else block for block in blocks)
            floor = ridge * np.trace(own) / len(own)
            linear += basis @ _power(wanted, 0.5) @ _power(own + floor * np.eye(len(own)), -0.5) @ basis.T  # eq. (60)
        parameters = {"shift": target_mean - source_moments.mean, "linear": linear, "recentre": np.zeros(source.dim)}
        drifted = stream_moments(source, transform=cls(source.dim, parameters, {})._projected_array).mean
        return {**parameters, "recentre": target_mean - drifted}  # eq. (62)

    def _anchor_array(self, block: np.ndarray) -> np.ndarray:
        block = block.astype(np.float64)
        return block / np.linalg.norm(block, axis=1, keepdims=True) + self.parameters["shift"]

    def _projected_array(self, block: np.ndarray) -> np.ndarray:
        anchored = self._anchor_array(block)
        anchored /= np.linalg.norm(anchored, axis=1, keepdims=True)
        return anchored @ self.parameters["linear"].T

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
