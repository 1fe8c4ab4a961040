"""Densities of pairwise cosines and their divergence (ReVision, appendix D.2).

The paper states neither which pairs nor which bandwidth: seeded random pairs and Scott's rule are ours.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import gaussian_kde

from ..errors import NotMeasurable

GRID = 512


def pairwise_cosines(rows: np.ndarray, *, pairs: int = 20000, seed: int = 0) -> np.ndarray:
    """Cosines [pairs] of random pairs of different rows of `rows` [N, D], raw or unit-norm; float64.

    Raises NotMeasurable for fewer than two rows.
    """
    if len(rows) < 2:
        raise NotMeasurable(f"pairwise cosines need at least 2 rows, there are {len(rows)}")
    rng = np.random.default_rng(seed)
    first = rng.integers(len(rows), size=pairs)
    second = (first + rng.integers(1, len(rows), size=pairs)) % len(rows)
    rows = np.asarray(rows, np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.einsum("ij,ij->i", rows[first], rows[second])


def js_divergence(first: np.ndarray, second: np.ndarray) -> float:
    """Jensen-Shannon divergence, in nats, of the kernel densities of two samples; 0 for equal ones, at most log 2.

    Gaussian kernels with Scott's bandwidth, on a grid that covers both samples and the kernels' tails. Raises
    NotMeasurable for a constant sample.
    """
    if min(np.ptp(first), np.ptp(second)) < 1e-12:
        raise NotMeasurable("all pairwise cosines are equal")
    kernels = [gaussian_kde(sample) for sample in (first, second)]
    margin = 4 * max(float(np.sqrt(kernel.covariance[0, 0])) for kernel in kernels)
    pooled = np.concatenate([first, second])
    grid = np.linspace(pooled.min() - margin, pooled.max() + margin, GRID)
    p, q = (density / density.sum() for density in (kernel(grid) for kernel in kernels))
    middle = (p + q) / 2

    def relative_entropy(a: np.ndarray) -> float:
        inside = a > 0
        return float((a[inside] * np.log(a[inside] / middle[inside])).sum())

    return (relative_entropy(p) + relative_entropy(q)) / 2
