"""Powers of covariances, and how far to shrink those of unit-norm rows."""

from __future__ import annotations

import numpy as np

from ..embeddings.moments import Moments


def power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """The power of a symmetric positive semi-definite matrix [d, d]; null directions stay null."""
    return powers(matrix, exponent)[0]


def powers(matrix: np.ndarray, *exponents: float, floor: float | None = None) -> list[np.ndarray]:
    """Several powers from one set of eigenvectors. Null is an eigenvalue of at most `floor`, by default what rounding
    leaves of the largest one.
    """
    values, vectors = np.linalg.eigh(matrix)
    if floor is None:
        floor = np.finfo(float).eps * max(values.max(), 0) * len(values)
    raised = (np.where(values > floor, np.maximum(values, floor) ** each, 0.0) for each in exponents)
    return [(vectors * each) @ vectors.T for each in raised]


def ledoit_wolf(moments: Moments) -> float:
    """Ledoit and Wolf's shrinkage coefficient: scikit-learn's `ledoit_wolf_shrinkage` of the same unit-norm rows.

    It needs E||x - m||^4 beyond the covariance S. For unit norm ||x - m||^2 = 1 - 2 x.m + |m|^2, whose mean is tr S and
    whose variance 4 m'Sm, so first and second moments are enough, and they stream.
    Raises ValueError where `moments` have no covariance.
    """
    covariance, mean = moments.covariance, moments.mean
    trace, square = np.trace(covariance), np.square(covariance).sum()
    noise = (trace**2 + 4 * mean @ covariance @ mean - square) / moments.count
    spread = square - trace**2 / len(mean)
    return float(np.clip(noise / spread, 0, 1)) if min(noise, spread) > 0 else 0.0


def dominant_directions(covariance: np.ndarray, energy: float) -> tuple[np.ndarray, int]:
    """Eigenvectors [d, d] by falling eigenvalue, and how many of the first hold the share `energy` of the trace."""
    values, vectors = directions(covariance)
    return vectors, leading(values, energy)


def directions(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues [d], falling and none below 0, and their eigenvectors [d, d], one a column."""
    values, vectors = np.linalg.eigh(covariance)
    return values[::-1].clip(0), np.ascontiguousarray(vectors[:, ::-1])


def leading(values: np.ndarray, energy: float) -> int:
    """How many of the first of these falling eigenvalues hold the share `energy` of their sum."""
    return int(np.searchsorted(np.cumsum(values) / values.sum(), energy)) + 1
