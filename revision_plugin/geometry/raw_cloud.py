"""Moments of a cloud of rows that are not unit-norm: projector outputs and token embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..embeddings.rows import block_rows
from ..errors import NotMeasurable
from . import spectrum

BLOCKS = 16  # of the cache-sized ones, as one


@dataclass(frozen=True)
class RawCloud:
    """What rows [n, d] of any norm are by their first moments and norms, float64."""

    mean: np.ndarray  # [d]
    trace: float  # E||e - mu||^2
    norm_mean: float
    norm_sd: float

    @classmethod
    def of(cls, rows: np.ndarray) -> RawCloud:
        """The moments of `rows` [n, d], which stream through float64: the mean first, then the rest around it, so that
        a mean far from zero costs no digits.
        """
        norms = np.concatenate([np.linalg.norm(block, axis=1) for block in _blocks(rows)])
        mean = sum(block.sum(0) for block in _blocks(rows)) / len(rows)
        trace = sum(float(np.square(block - mean).sum()) for block in _blocks(rows)) / len(rows)
        return cls(mean, trace, float(norms.mean()), float(norms.std()))

    @property
    def root_trace(self) -> float:
        """The root of the trace: how far rows lie from their centroid. Raises NotMeasurable where they do not vary."""
        if not self.trace > 0:
            raise NotMeasurable("the rows are constant")
        return float(np.sqrt(self.trace))


def covariance(rows: np.ndarray) -> np.ndarray:
    """The centred covariance [d, d] of `rows` [n, d], float64, which stream through it."""
    mean = sum(block.sum(0) for block in _blocks(rows)) / len(rows)
    outer = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for block in _blocks(rows):
        centred = torch.from_numpy(block - mean)
        outer.addmm_(centred.T, centred)
    return outer.numpy() / len(rows)


def eigenpairs(matrix: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    """`spectrum.eigenpairs` of a covariance [d, d] over `size`, the mean square E||e||^2 of its rows, so that their
    scale does not matter. Raises NotMeasurable for constant rows.
    """
    if not size > 0:
        raise NotMeasurable("all rows are zero")
    return spectrum.eigenpairs(matrix / size)


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    step = block_rows(rows.shape[1]) * BLOCKS
    for start in range(0, len(rows), step):
        yield rows[start : start + step].astype(np.float64)


def nearest_cosines(rows: np.ndarray, table: np.ndarray, *, chunk: int = 4096) -> np.ndarray:
    """For each row [n, d] the largest cosine [n] to a row of `table` [V, d], float32; no row of either may be zero.

    Exact, over all rows of the table; [1024, chunk] cosines are held at a time.
    """
    best, directions = np.full(len(rows), -1.0, np.float32), _unit(rows)
    for first in range(0, len(table), chunk):
        others = _unit(table[first : first + chunk])
        for start in range(0, len(rows), 1024):
            here = slice(start, start + 1024)
            best[here] = np.maximum(best[here], (directions[here] @ others.T).max(1))
    return best


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
