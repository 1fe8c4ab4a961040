"""What the accumulators' precision leaves of a mean and of an alignment (ReVision, appendix E.2)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import torch

from revision_plugin.embeddings.moments import stream_moments
from revision_plugin.embeddings.rows import ChosenRows, Rows
from revision_plugin.embeddings.store import Store
from scripts.studies.held_out import row_counts

BLOCK = 4096
ROWS_AT_ONCE = (1, 64, 4096)
LIMB_BITS, LIMBS = 30, 3
FIT = "stream_moments"


def mean_error(source: Store, target: Store) -> dict:
    """Distance of the mean of the first N rows from their exact mean, against N, by accumulator (ReVision, figure 8(a)
    and appendix E.2, whose residual is "the distance between the computed mean and the true ground truth").

    The reference is exact: the rows, scaled to unit norm in float64, are summed as whole multiples of 2^-90, which
    leaves at most 2^-91 of the mean (see `exact_sum`), and errors are taken as fractions. The paper does not say how
    its accumulators go on, and much hangs on it: a total that takes rows one by one loses more than one that takes sums
    of many, so both float types are shown for 1, 64 and 4096 rows at once. `stream_moments` is what fits take. The
    paper's text names N = 500,000 alone; here N is that of figure 7, in the stores' order, and nothing is drawn.
    """
    return {
        name: _mean_errors(store, row_counts(len(store))) for name, store in (("texts", source), ("images", target))
    }


def _mean_errors(store: Store, counts: list[int]) -> dict:
    errors: dict[str, list[float]] = {}
    for count in counts:
        rows = ChosenRows(store, np.arange(count))
        reference = [total / count for total in exact_sum(_unit_blocks(rows, np.float64), rows.dim)]
        means = {
            f"{dtype.__name__}, {_rows(at_once)} at once": running_mean(rows, dtype, at_once)
            for dtype in (np.float32, np.float64)
            for at_once in ROWS_AT_ONCE
        }
        for name, mean in {**means, FIT: stream_moments(rows).mean}.items():
            errors.setdefault(name, []).append(distance(mean, reference))
    return {"rows": counts, "errors": errors}


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def exact_sum(blocks: Iterator[np.ndarray], dim: int) -> list[Fraction]:
    """The sum of float64 rows [n, dim] whose entries are at most 1, each entry cut to a multiple of 2^-90.

    An entry is three whole numbers of up to 30 bits, split off without rounding, and whole numbers add up exactly.
    """
    totals = np.zeros((LIMBS, dim), np.int64)
    for block in blocks:
        rest = np.array(block, np.float64)
        for limb, total in enumerate(totals, 1):
            scale = 2.0 ** (limb * LIMB_BITS)
            whole = np.rint(rest * scale)
            total += whole.astype(np.int64).sum(0)
            rest -= whole / scale
    weights = [Fraction(1, 2 ** (limb * LIMB_BITS)) for limb in range(1, LIMBS + 1)]
    return [sum((int(t) * w for t, w in zip(column, weights)), Fraction(0)) for column in totals.T]


def distance(mean: np.ndarray, reference: list[Fraction]) -> float:
    """Euclidean distance of a mean [d] of any float type from an exact one; nothing is rounded before the norm."""
    return float(np.linalg.norm([float(Fraction(float(m)) - r) for m, r in zip(mean, reference)]))


def running_mean(rows: Rows, dtype: type, at_once: int) -> np.ndarray:
    """Mean [d] of unit-norm rows, rounded to `dtype`, by a total of that type that takes `at_once` rows at a time."""
    if at_once == 1:
        return _running_mean(_unit_blocks(rows, np.float64), dtype)[0]
    total = np.zeros(rows.dim, dtype)
    for block in _unit_blocks(rows, np.float64):
        x = torch.from_numpy(block.astype(dtype))
        for part in x.split(at_once):
            total += part.sum(0).numpy()
    return total / dtype(len(rows))


def precision(source: Store, target: Store, *, rounds: int = 20) -> dict:
    """The fitted centroid gap that float32 and float64 accumulators leave, by centroid round.

    Ours, beside `mean_error`: the paper's figure 8(a) shows the error of a mean, this one what it leaves of ReAlign.
    The float32 side sums rows one after another in float32, as a running total does; the gap itself is measured in
    float64.
    """
    record = {}
    target_mean = stream_moments(target).mean
    for name, dtype in (("float32", np.float32), ("float64", np.float64)):
        statistics = [_running_mean(_unit_blocks(store, dtype), dtype) for store in (source, target)]
        (source_centroid, _), (target_centroid, _) = statistics
        trace = [1 - float(mean @ mean) for mean, _ in statistics]
        scale, shifts, gaps = np.sqrt(trace[1] / trace[0]), [], []
        for _ in range(rounds):
            drifted = _running_mean(
                (
                    _apply(x, source_centroid, target_centroid, scale, shifts, dtype)
                    for x in _unit_blocks(source, dtype)
                ),
                dtype,
            )[0]
            shifts.append(target_centroid - drifted)
            exact = [np.array(s, np.float64) for s in shifts]
            moved, count = np.zeros(source.dim), 0
            for x in _unit_blocks(source, np.float64):
                y = _apply(
                    x, source_centroid.astype(np.float64), target_centroid.astype(np.float64), scale, exact, np.float64
                )
                moved, count = moved + y.sum(0), count + len(y)
            gaps.append(float(np.linalg.norm(moved / count - target_mean)))
        record[name] = {"gap_by_round": gaps, "mean_error": float(np.linalg.norm(target_centroid - target_mean))}
    return {"rows": len(source), **record}


def _unit_blocks(rows: Rows, dtype):
    for block in rows.blocks(BLOCK):
        x = block.astype(dtype)
        yield x / np.linalg.norm(x, axis=1, keepdims=True)


def _running_mean(blocks, dtype) -> tuple[np.ndarray, int]:
    total, count = None, 0
    for x in blocks:
        start = x[:1] * 0 if total is None else total[None]
        total = np.add.accumulate(np.concatenate([start, x]), axis=0, dtype=dtype)[-1]  # row by row, no pairwise sum
        count += len(x)
    return total / dtype(count), count


def _apply(x, source_centroid, target_centroid, scale, shifts, dtype):
    y = (x - source_centroid) * dtype(scale) + target_centroid
    y = y / np.linalg.norm(y, axis=1, keepdims=True)
    for shift in shifts:
        y = y + shift
        y = y / np.linalg.norm(y, axis=1, keepdims=True)
    return y
