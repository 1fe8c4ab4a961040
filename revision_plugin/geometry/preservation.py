"""What alignment keeps of the source's meaning (AnisoAlign, section 3 and appendix B)."""

from __future__ import annotations

import numpy as np

from ..errors import NotMeasurable
from .density import pairwise_cosines


def mean_cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Phi: mean cosine of corresponding rows [N, D]; 1 where nothing moved."""
    products = np.einsum("ij,ij->i", first, second, dtype=np.float64)
    return float((products / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)).mean())


def similarity_correlation(before: np.ndarray, after: np.ndarray, *, pairs: int = 20000, seed: int = 0) -> float:
    """Psi: Pearson's correlation of the cosines of the same random pairs of rows, before and after; 1 for an isometry.

    Raises NotMeasurable for fewer than 3 rows or cosines that do not vary.
    """
    if len(before) < 3:
        raise NotMeasurable(f"similarities need at least 3 rows to vary, there are {len(before)}")
    a, b = (pairwise_cosines(rows, pairs=pairs, seed=seed) for rows in (before, after))
    if np.ptp(a) < 1e-12 or np.ptp(b) < 1e-12:
        raise NotMeasurable("all pairwise similarities are equal")
    return float(np.corrcoef(a, b)[0, 1])


def residual_ratios(source: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """(energy, distance) left in pairs [N, D] after their centroids are matched: what a global shift cannot remove.

    Energy is E||r||^2 / E||Delta||^2 and distance E||r|| / E||Delta||, with r = Delta - E[Delta] (AnisoAlign, section
    3).
    """
    difference = np.asarray(target, np.float64) - source
    residual = difference - difference.mean(0)
    pair_energies = np.square(difference).sum(1)
    if not pair_energies.mean() > 0:
        raise NotMeasurable("the pairs do not differ")
    rest = np.square(residual).sum(1)
    return float(rest.mean() / pair_energies.mean()), float(np.sqrt(rest).mean() / np.sqrt(pair_energies).mean())
