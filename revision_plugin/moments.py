"""Streaming moments of unit-norm embeddings, accumulated in float64 and mergeable.

Rows are normalised as they stream, without materialising the normalised rows: a row's inverse norm is its
weight in a vector-matrix product. For unit-norm rows the trace is `1 - ||mean||^2` (ReVision, section 4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .errors import RevisionError

BLOCK_ROWS = 2048


class Rows(Protocol):
    """Anything that streams embeddings: a `Store`, or an array through `as_rows`."""

    dim: int

    def __len__(self) -> int: ...

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[np.ndarray]: ...


class ArrayRows:
    """In-memory embeddings [N, D] as `Rows`."""

    def __init__(self, array: np.ndarray):
        if array.ndim != 2:
            raise RevisionError(f"embeddings must have shape [N, D], not {list(array.shape)}")
        self._array = array
        self.dim = array.shape[1]

    def __len__(self) -> int:
        return len(self._array)

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[np.ndarray]:
        for start in range(0, len(self._array), rows):
            yield self._array[start : start + rows]


def as_rows(value) -> Rows:
    """`value` as `Rows`: a store as it is, an array or tensor [N, D] wrapped."""
    if hasattr(value, "blocks"):
        return value
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return ArrayRows(np.asarray(value))


@dataclass
class Moments:
    """Sums over `count` unit-norm rows of dimension d; `merge` of parts equals the whole."""

    count: int
    total: np.ndarray  # [d], sum of rows
    outer: np.ndarray | None = None  # [d, d], sum of outer products, where asked for

    @classmethod
    def empty(cls, dim: int, *, covariance: bool = False) -> Moments:
        return cls(0, np.zeros(dim), np.zeros((dim, dim)) if covariance else None)

    @property
    def mean(self) -> np.ndarray:
        """Mean [d], float64."""
        return self.total / self.count

    @property
    def trace(self) -> float:
        """Trace of the centred covariance, E||e - mean||^2."""
        return float(1.0 - self.mean @ self.mean)

    @property
    def covariance(self) -> np.ndarray:
        """Centred covariance [d, d], float64. Raises ValueError where it was not accumulated."""
        if self.outer is None:
            raise ValueError("these moments were accumulated without covariance")
        return self.outer / self.count - np.outer(self.mean, self.mean)

    def add(self, block: np.ndarray, first_row: int = 0) -> None:
        """Add raw rows [n, d] of any float dtype, each scaled to unit norm.

        Raises RevisionError for a row that is not finite or is zero; `first_row` places it in the message.
        """
        block = block.astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        if not (np.isfinite(norms) & (norms > 0)).all():
            row = int((~(np.isfinite(norms) & (norms > 0))).argmax())
            what = "is zero" if norms[row] == 0 else "holds NaN or infinity"
            raise RevisionError(f"embedding row {first_row + row} {what}; encode that item again or remove it")
        weights = 1.0 / norms
        self.count += len(block)
        self.total += weights @ block
        if self.outer is not None:
            block *= weights[:, None]
            self.outer += block.T @ block

    def merge(self, other: Moments) -> Moments:
        """The moments of both parts together. Raises ValueError where they do not fit."""
        if self.total.shape != other.total.shape or (self.outer is None) != (other.outer is None):
            raise ValueError("these moments have different dimensions or contents")
        outer = None if self.outer is None else self.outer + other.outer
        return Moments(self.count + other.count, self.total + other.total, outer)


def stream_moments(rows: Rows, *, covariance: bool = False, transform=None) -> Moments:
    """One pass over `rows`; `transform` maps a block [n, d] before it is added (an aligner, say)."""
    moments = Moments.empty(rows.dim, covariance=covariance)
    for block in rows.blocks(BLOCK_ROWS):
        moments.add(block if transform is None else transform(block), moments.count)
    return moments
