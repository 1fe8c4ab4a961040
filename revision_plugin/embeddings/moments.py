"""Streaming moments of unit-norm embeddings, accumulated in float64 and mergeable.

Rows are normalised as they stream, without materialising the normalised rows: a row's inverse norm is its
weight in a vector-matrix product. For unit-norm rows the trace is `1 - ||mean||^2` (ReVision, section 4).
Under torchrun the processes share every pass and all end with the same moments.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from .._common import distributed
from .._common.progress import track
from .._common.threads import prefetch
from ..errors import RevisionError
from .rows import Rows, block_rows

SPAN_BYTES = 2**29  # of float64 rows: what one process sums before the partial results are merged in order
BLOCKS_ON_A_GPU = 64  # as one: a GPU wants more rows at a time than a processor's cache holds
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


@dataclass(frozen=True)
class IsotropicMap:
    """x -> n(scale x + offset), then x -> n(x + shift) for each shift: the form of the closed-form aligners.

    Its image of a row is a combination of the row and a few constant vectors, so the mean of all images
    needs one dot product a row and vector, and no mapped row.
    """

    scale: float
    offset: np.ndarray  # [d]
    shifts: np.ndarray  # [k, d]

    @property
    def constants(self) -> np.ndarray:
        """The constant vectors [1 + k, d]."""
        return np.vstack([self.offset[None], self.shifts])


def stream_moments(rows: Rows, *, covariance: bool = False, transform=None, device="cpu") -> Moments:
    """Moments of `rows` in one pass, each row scaled to unit norm; the same in every process of a torchrun launch.

    `transform` maps the rows first: an `IsotropicMap`, or a function of float64 tensors [n, d] whose results
    have unit norm. Raises RevisionError, in every process, for a row that is not finite, is zero, or has another
    norm than its store promises.
    """
    moments = Moments.empty(rows.dim, covariance=covariance)
    span = max(1, SPAN_BYTES // (8 * rows.dim))
    starts = range(0, len(rows), span)
    mine = starts[distributed.rank() :: distributed.world_size()]

    def partial(start: int) -> Moments:
        return _span_moments(rows, start, start + span, covariance, transform, device)

    with (
        track("moments", total=len(rows), unit="row", show=distributed.rank() == 0, delay=PROGRESS_AFTER) as advance,
        _in_threads(partial, mine, device) as partials,
    ):
        for _ in range(0, len(starts), distributed.world_size()):
            part = Moments.empty(rows.dim, covariance=covariance)
            with distributed.together():
                part = next(partials, part)
            for flat in distributed.share(part.flat()):  # in the rows' order, whoever summed them
                before = moments.count
                moments = moments.merge(Moments.from_flat(flat, rows.dim))
                advance(moments.count - before)
    return moments


@contextlib.contextmanager
def _in_threads(work, items, device) -> Iterator[Iterator]:
    """Results of `work` on `items`, in order, from as many threads as torch uses; few are ever in memory.

    Threads that each run single-threaded kernels on their own rows keep a processor busier than kernels that share
    one small block.
    """
    usual = torch.get_num_threads()
    threads = usual if str(device) == "cpu" else 1
    torch.set_num_threads(1)
    try:
        with prefetch(work, items, threads=threads, most=threads + 1) as results:
            yield results
    finally:
        torch.set_num_threads(usual)


def _span_moments(rows: Rows, start: int, stop: int, covariance: bool, transform, device) -> Moments:
    count, total = 0, torch.zeros(rows.dim, dtype=torch.float64, device=device)
    outer = torch.zeros(rows.dim, rows.dim, dtype=torch.float64, device=device) if covariance else None
    isotropic = _Isotropic(transform, device) if isinstance(transform, IsotropicMap) else None
    size = block_rows(rows.dim) * (1 if str(device) == "cpu" else BLOCKS_ON_A_GPU)
    for block in rows.blocks(size, start, stop):
        x = to_float64(block, device)
        norms = torch.linalg.vector_norm(x, dim=1)
        _check_norms(norms, start + count, getattr(rows, "norm_tolerance", None))
        count += len(x)
        if isotropic and not covariance:
            total += isotropic.total(x, norms)
            continue
        if transform is not None:
            x = isotropic.rows(x, norms) if isotropic else transform(x)
            total += x.sum(0)
        elif covariance:
            x /= norms[:, None]
            total += x.sum(0)
        else:
            total += norms.reciprocal() @ x
        if outer is not None:
            outer.addmm_(x.T, x)
    if not total.isfinite().all():
        raise RevisionError(
            f"of embedding rows {start} to {start + count - 1}, one is mapped to zero and has no direction"
        )
    return Moments(count, total.cpu().numpy(), None if outer is None else outer.cpu().numpy())


def to_float64(block: np.ndarray, device="cpu") -> torch.Tensor:
    """A block of any float dtype as a float64 tensor of its own on `device`."""
    x = torch.from_numpy(np.array(block)).to(device)
    return x.float().double() if x.dtype == torch.float16 else x.double()


class _Isotropic:
    """Images under an `IsotropicMap`, as coefficients of the row and of the constant vectors."""

    def __init__(self, mapping: IsotropicMap, device):
        self.scale = float(mapping.scale)
        self.constants = torch.from_numpy(mapping.constants).to(device, torch.float64)
        self.gram = (self.constants @ self.constants.T).tolist()

    def coefficients(self, x, norms):
        """For raw rows [n, d]: a [n] and one b [n] a constant, with image = a x / ||x|| + sum of b * constant.

        Step by step: the norm of `u + k` for unit u is sqrt(1 + 2 u.k + k.k), and u.k follows from the row's dot
        product.
        """
        dots = (self.constants @ x.T).div_(norms)
        first = (2 * self.scale * dots[0]).add_(self.scale**2 + self.gram[0][0]).rsqrt_()
        a, b = first * self.scale, [first]
        for step in range(1, len(self.constants)):
            inverse = a * dots[step]
            for done, coefficient in enumerate(b):
                inverse.add_(coefficient, alpha=self.gram[done][step])
            inverse.mul_(2).add_(1 + self.gram[step][step]).rsqrt_()
            a.mul_(inverse)
            for coefficient in b:
                coefficient.mul_(inverse)
            b.append(inverse)
        return a, b

    def total(self, x, norms):
        a, b = self.coefficients(x, norms)
        return (a / norms) @ x + torch.stack(b).sum(1) @ self.constants

    def rows(self, x, norms):
        a, b = self.coefficients(x, norms)
        return x * (a / norms)[:, None] + torch.stack(b, 1) @ self.constants


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
