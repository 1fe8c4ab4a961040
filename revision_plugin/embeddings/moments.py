"""Streaming moments of unit-norm embeddings, accumulated in float64 and mergeable.

Rows are normalised as they stream, without materialising the normalised rows: a row's inverse norm is its
weight in a vector-matrix product. The trace (ReVision, eq. (20)) of unit-norm rows is `1 - ||mean||^2`.
Under torchrun the processes share every pass and all end with the same moments.

Outer products are float64 for stores of every dtype. A float32 product is twice as fast, and of rows centred first and
summed in float64 it is wrong by up to (k + 3) 2^-24 sqrt(C_ii C_jj), k rows a product, in practice 1e-7 of it: too much
for covariances that are inverted. Of 400 float16 rows of 512 dimensions it gives 56 of the 113 null directions
an eigenvalue beyond rounding, which `bc` would multiply by a million.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._common import distributed
from .._common.devices import choose_device
from .._common.engines import Piece, Work, engine
from .._common.progress import track
from .._common.threads import one_blas_thread, prefetch
from ..errors import RevisionError
from .float64_blocks import OuterProducts, Upcast
from .maps import ImageSums, IsotropicMap, LinearMap, image_sums
from .rows import Rows, block_rows

SPAN_BYTES = 2**26  # of float64 rows: what one thread sums before the partial results are merged in order
SPANS_OF_PRODUCTS = 2  # as one: a partial result with outer products is large itself
BLOCKS_ON_A_GPU, SPANS_ON_A_GPU = 64, 8  # as one: a GPU wants more rows at a time than a processor's cache holds
SPAN_IN_ORDER = 2**16  # rows that are made as they are read: of several processes each makes many at a time
PROGRESS_AFTER = 2.0  # seconds; a shorter pass shows none


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

    def merge(self, other: Moments) -> Moments:
        """The moments of both parts together. Raises ValueError where they do not fit."""
        if self.total.shape != other.total.shape or (self.outer is None) != (other.outer is None):
            raise ValueError("these moments have different dimensions or contents")
        outer = None if self.outer is None else self.outer + other.outer
        return Moments(self.count + other.count, self.total + other.total, outer)

    def add(self, other: Moments) -> None:
        """Merge `other`, of the same contents, into these."""
        self.count += other.count
        self.total += other.total
        if self.outer is not None:
            self.outer += other.outer

    @classmethod
    def sum(cls, parts: Sequence[Moments], *, covariance: bool) -> Moments:
        """The moments of all `parts` together, with outer products where `covariance` asks for them, rounded about
        once however many there are (Neumaier's compensated summation, in their order).
        """
        count = sum(part.count for part in parts)
        outer = _compensated([part.outer for part in parts if part.outer is not None]) if covariance else None
        return cls(count, _compensated([part.total for part in parts]), outer)

    def minus(self, part: Moments) -> Moments:
        """The moments of the rows that are not in `part`, a part of these."""
        outer = None if self.outer is None or part.outer is None else self.outer - part.outer
        return Moments(self.count - part.count, self.total - part.total, outer)

    def flat(self) -> np.ndarray:
        """All sums in one float64 vector, for another process' `from_flat`."""
        outer = np.zeros(0) if self.outer is None else self.outer.ravel()
        return np.concatenate([[self.count], self.total, outer])

    @classmethod
    def from_flat(cls, flat: np.ndarray, dim: int) -> Moments:
        outer = flat[1 + dim :].reshape(dim, dim) if len(flat) > 1 + dim else None
        return cls(int(flat[0]), flat[1 : 1 + dim], outer)


def _compensated(arrays: Sequence[np.ndarray]) -> np.ndarray:
    total = np.array(arrays[0])
    lost = np.zeros_like(total)
    for array in arrays[1:]:
        new = total + array
        lost += np.where(np.abs(total) >= np.abs(array), (total - new) + array, (array - new) + total)
        total = new
    return total + lost


def stream_moments(
    rows: Rows, *, covariance: bool = False, transform=None, start: int = 0, stop: int | None = None, device="cpu"
) -> Moments:
    """Moments of `rows` (of those from `start` to `stop`) in one pass, each row scaled to unit norm; the same in every
    process of a torchrun launch, and for every number of processes and threads.

    `transform` maps the rows first: an `IsotropicMap`, a `LinearMap`, or a function of float64 tensors [n, d] whose
    results have unit norm. All sums are float64: from s products of k rows each an entry of the covariance is off by at
    most (k + s + d + 4) 2^-53 (E|e_i e_j| + |m_i m_j|), below 1e-12, and in practice by 1e-15. Raises RevisionError, in
    every process, for a row that is not finite, is zero, or has another norm than its store promises.
    """
    known = getattr(rows, "known_moments", None)  # of rows that were summed before, or are summed elsewhere
    if known is not None:
        return known(transform, covariance)
    moments, stop = Moments.empty(rows.dim, covariance=covariance), len(rows) if stop is None else stop
    in_order = getattr(rows, "in_order", False)  # of rows that are made as they are read
    span = max(_span_rows(rows.dim, covariance, device), SPAN_IN_ORDER if in_order else 0)
    starts, work = range(start, stop, span), SpanWork(rows, span, stop, covariance, transform)
    mine = starts[distributed.rank() :: distributed.world_size()]
    workers = engine()
    partials_of: contextlib.AbstractContextManager[Iterator[Moments]]
    if workers is not None and len(starts) > 1 and not in_order:
        parts = (Moments.from_flat(flat, rows.dim) for flat in workers.map(work, [(first,) for first in starts]))
        partials_of = contextlib.nullcontext(parts)
    else:
        partials_of = _in_threads(work.on(device), mine, device, own_libraries=callable(transform), in_order=in_order)
    with (
        track("moments", total=stop - start, unit="row", show=distributed.rank() == 0, delay=PROGRESS_AFTER) as advance,
        partials_of as partials,
    ):
        for _ in range(0, len(starts), distributed.world_size()):
            part = Moments.empty(rows.dim, covariance=covariance)
            with distributed.together():
                part = next(partials, part)
            for flat in distributed.share(part.flat()):  # in the rows' order, whoever summed them
                before = moments.count
                moments.add(Moments.from_flat(flat, rows.dim))
                advance(moments.count - before)
    return moments


@dataclass(frozen=True)
class SpanWork:
    """Moments of `span` rows from a given one, none beyond `stop`: here, or by a worker of an engine."""

    rows: Rows
    span: int
    stop: int
    covariance: bool
    transform: Any

    def on(self, device) -> Callable[[int], Moments]:
        """What gives the moments of the span that begins at a row."""
        transform, upcast = self.transform, Upcast(device)
        if isinstance(transform, (IsotropicMap, LinearMap)):
            transform = image_sums(transform, device)

        def partial(first: int) -> Moments:
            end = min(first + self.span, self.stop)
            return _span_moments(self.rows, first, end, self.covariance, transform, upcast, device)

        return partial

    def __call__(self) -> Work:
        device = choose_device(None)
        partial = self.on(device)

        def work(piece: Piece) -> np.ndarray:
            with _in_threads(partial, piece, device, own_libraries=False, in_order=False) as partials:
                return next(partials).flat()

        return work


def _span_rows(dim: int, covariance: bool, device) -> int:
    spans = SPANS_ON_A_GPU if str(device) != "cpu" else SPANS_OF_PRODUCTS if covariance else 1
    return max(1, spans * SPAN_BYTES // (8 * dim))


@contextlib.contextmanager
def _in_threads(work, items, device, *, own_libraries: bool, in_order: bool) -> Iterator[Iterator]:
    """Results of `work` on `items`, in order, from as many threads as torch uses; few are ever in memory.

    Threads that each run single-threaded kernels on their own rows keep a processor busier than kernels that share
    one small block. `own_libraries` says that `work` may import some.
    """
    usual = torch.get_num_threads()
    threads = usual if str(device) == "cpu" and not in_order else 1
    torch.set_num_threads(usual if in_order else 1)
    try:
        with (
            one_blas_thread(),
            prefetch(work, items, threads=threads, most=threads + 1, first_alone=own_libraries) as results,
        ):
            yield results
    finally:
        torch.set_num_threads(usual)


def _span_moments(rows: Rows, start: int, stop: int, covariance: bool, transform, upcast: Upcast, device) -> Moments:
    count, total = 0, torch.zeros(rows.dim, dtype=torch.float64, device=device)
    size = block_rows(rows.dim) * (1 if str(device) == "cpu" else BLOCKS_ON_A_GPU)
    outer = OuterProducts(rows.dim, size, min(stop, len(rows)) - start, device) if covariance else None
    images = transform if isinstance(transform, ImageSums) else None
    for block in rows.blocks(size, start, stop):
        x = upcast(block)
        norms = torch.linalg.vector_norm(x, dim=1)
        _check_norms(norms, start + count, getattr(rows, "norm_tolerance", None))
        count += len(x)
        if outer is None and transform is None:
            total += norms.reciprocal() @ x
        elif outer is None and images:
            total += images.total(x, norms)
        else:
            x = images.rows(x, norms) if images else x.div_(norms[:, None]) if transform is None else transform(x)
            total += x.sum(0)
            if outer is not None:
                outer.add(x)
    if not total.isfinite().all():
        raise RevisionError(
            f"of embedding rows {start} to {start + count - 1}, one is mapped to zero and has no direction"
        )
    return Moments(count, total.cpu().numpy(), None if outer is None else outer.total())


def _check_norms(norms, first_row: int, tolerance: float | None) -> None:
    lowest, highest = (float(bound) for bound in torch.aminmax(norms))  # NaN if any is
    if not (0 < lowest and highest < math.inf):
        row = int((~(norms.isfinite() & (norms > 0))).int().argmax())
        what = "is zero" if norms[row] == 0 else "holds NaN or infinity"
        raise RevisionError(f"embedding row {first_row + row} {what}; encode that item again or remove it")
    if tolerance is not None and not (1 - tolerance <= lowest and highest <= 1 + tolerance):
        row = int((norms - 1).abs().argmax())
        raise RevisionError(
            f"embedding row {first_row + row} has norm {float(norms[row]):.4g}, but its store says unit norm; "
            "the store was edited: encode it again"
        )
