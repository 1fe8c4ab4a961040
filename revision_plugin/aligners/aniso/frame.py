"""AnisoAlign's frame: the dominant subspace U of both covariances, the rows it is trained on, and the quantile map."""

from __future__ import annotations

import numpy as np
import torch

from ...embeddings.moments import Moments
from ...embeddings.rows import Rows, block_rows
from ..covariances import dominant_directions
from . import phase
from .options import AnisoOptions

KNOTS = 257
SMALLEST_RANK = 4


def fit_frame(source: Moments, target: Moments, seed: int, o: AnisoOptions) -> dict[str, np.ndarray]:
    """Q_U [d, r] with even r, mixed where that is asked for, and a basis of V [d, d - r]; the moments have covariances.

    The paper decomposes Sigma_y + Sigma_x + lambda I and does not say how r is chosen. lambda I turns no eigenvector,
    so it is left out: in the rule of energy it would count as variance, d times, and the rank would grow with it.
    """
    total_covariance = source.covariance + target.covariance
    vectors, rank = dominant_directions(total_covariance, o.energy)
    rank = min(max(SMALLEST_RANK, rank + rank % 2), len(total_covariance) // 2 * 2)
    frame = np.ascontiguousarray(vectors[:, :rank])
    if o.mixing:  # a seeded rotation; the paper's "maximally stable" one is the optimum of no objective that it states
        gaussian = np.random.default_rng(seed).normal(size=(rank, rank))
        orthogonal, triangle = np.linalg.qr(gaussian)
        frame = frame @ (orthogonal * np.sign(np.diag(triangle)))
    return {"frame": frame, "complement": np.ascontiguousarray(vectors[:, rank:])}


def sample_rows(rows: Rows, limit: int, seed: int) -> np.ndarray:
    """At most `limit` unit-norm rows, float64, drawn without replacement in one pass."""
    chosen = np.arange(len(rows))
    if len(rows) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), limit, replace=False))
    parts, start = [], 0
    for block in rows.blocks(block_rows(rows.dim)):
        inside = chosen[(chosen >= start) & (chosen < start + len(block))] - start
        parts.append(block[inside].astype(np.float64))
        start += len(block)
    sample = np.concatenate(parts)
    return sample / np.linalg.norm(sample, axis=1, keepdims=True)


def radius_quantiles(radius: torch.Tensor) -> np.ndarray:
    """The knots [m, KNOTS] of each block's distribution of radii [N, m]."""
    grid = torch.linspace(0, 1, KNOTS, dtype=torch.float64)
    return torch.quantile(radius, grid, dim=0).T.contiguous().numpy()


def map_quantiles(values: torch.Tensor, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """F_x^{-1}(F_y(values)) per block, by linear interpolation between knots [m, KNOTS]; ends are clamped."""
    columns = values.T.contiguous()
    right = torch.searchsorted(source, columns).clamp(1, KNOTS - 1)
    low, high = source.gather(1, right - 1), source.gather(1, right)
    share = ((columns - low) / (high - low).clamp_min(phase.EPSILON)).clamp(0, 1)
    low, high = target.gather(1, right - 1), target.gather(1, right)
    return (low + share * (high - low)).T
