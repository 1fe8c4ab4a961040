"""Anything that streams embeddings in blocks: stores, arrays, and parts of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ..errors import RevisionError
from .store import Store

BLOCK_BYTES = 2**21  # of float64 rows: small enough to stay in a processor's cache between operations


class Rows(Protocol):
    """Embeddings [N, dim] of any float dtype, raw or unit-norm, read in blocks from any position."""

    @property
    def dim(self) -> int: ...

    def __len__(self) -> int: ...

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Rows `start` to `stop` in order, as blocks [<= rows, dim]."""
        ...


def block_rows(dim: int) -> int:
    """How many rows of `dim` dimensions a block should hold."""
    return max(1, BLOCK_BYTES // (8 * dim))


class ArrayRows:
    """In-memory embeddings [N, D] as `Rows`."""

    def __init__(self, array: np.ndarray):
        if array.ndim != 2:
            raise RevisionError(f"embeddings must have shape [N, D], not {list(array.shape)}")
        self._array = array
        self.dim = array.shape[1]

    def __len__(self) -> int:
        return len(self._array)

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        stop = len(self) if stop is None else min(stop, len(self))
        for first in range(start, stop, rows):
            yield self._array[first : min(first + rows, stop)]


class EveryNth:
    """Every `period`-th row of `rows` (`chosen`), or all the others: a systematic sample, the same every time."""

    def __init__(self, rows: Rows, period: int, *, chosen: bool):
        if period < 2:
            raise ValueError("a period of at least 2 rows")
        self._rows, self._period, self._chosen = rows, period, chosen
        self.dim = rows.dim

    def __len__(self) -> int:
        inside = len(self._rows) // self._period
        return inside if self._chosen else len(self._rows) - inside

    def _position(self, index: int) -> int:
        """Where row `index` of this part stands in the whole."""
        if self._chosen:
            return (index + 1) * self._period - 1
        return index + index // (self._period - 1)

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        stop = len(self) if stop is None else min(stop, len(self))
        if start >= stop:
            return
        position = self._position(start)
        span_rows = rows * self._period if self._chosen else rows
        for block in self._rows.blocks(span_rows, position, self._position(stop - 1) + 1):
            to_last = (-position - 1) % self._period  # from the block's first row to the last row of its period
            position += len(block)
            if self._chosen:
                part = block[to_last :: self._period]
            else:
                mask = np.ones(len(block), bool)
                mask[to_last :: self._period] = False
                part = block[mask]
            if len(part):
                yield part


class ChosenRows:
    """The rows of `rows` at `positions`, in their order; it says what store and view they are of."""

    def __init__(self, rows: Rows, positions: np.ndarray):
        self._rows, self.dim, self.positions = rows, rows.dim, np.sort(positions)
        self.manifest, self.view = getattr(rows, "manifest", None), getattr(rows, "view", None)

    def __len__(self) -> int:
        return len(self.positions)

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        chosen = self.positions[start:stop]
        if not len(chosen):
            return
        position = int(chosen[0])
        for block in self._rows.blocks(rows, position, int(chosen[-1]) + 1):
            first, last = np.searchsorted(chosen, (position, position + len(block)))
            if first < last:
                yield block[chosen[first:last] - position]
            position += len(block)


class RandomRows(ChosenRows):
    """`count` rows of `rows`, drawn without replacement by `seed`; all of them where there are no more."""

    def __init__(self, rows: Rows, count: int, seed: int):
        if len(rows) > count:
            positions = np.random.default_rng(seed).choice(len(rows), count, replace=False)
        else:
            positions = np.arange(len(rows))
        super().__init__(rows, positions)


def as_rows(value: Rows | np.ndarray | torch.Tensor | str | Path) -> Rows:
    """`value` as `Rows`: a store as it is, the one at a path opened, an array or tensor [N, D] wrapped.

    Raises RevisionError for a path that holds no store, and for any other value.
    """
    if isinstance(value, (str, Path)):
        return Store.open(value)
    if hasattr(value, "blocks"):
        return value  # type: ignore[return-value]
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return ArrayRows(float_array(value))


def float_array(value: object) -> np.ndarray:
    """`value` as a contiguous float array in this machine's byte order. Raises RevisionError for anything else."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise RevisionError(f"embeddings must be an array [N, D]: {str(error).splitlines()[0]}") from None
    if not np.issubdtype(array.dtype, np.floating):
        raise RevisionError(f"embeddings must be floats [N, D], not {array.dtype}; give a store, its path or an array")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))
