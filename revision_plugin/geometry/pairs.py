"""Pairs of a text and its image: matched by id, streamed in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from .._common.progress import track
from ..embeddings.float64_blocks import to_float64
from ..embeddings.rows import block_rows
from ..embeddings.unique_ids import id_names
from ..errors import RevisionError

BLOCKS = 64  # of the cache-sized ones, as one: a product with many rows keeps all threads busy
IDS_AT_A_TIME = 65536


def match_ids(source, target) -> np.ndarray:
    """For each row of the store `source`, the row [N] of the store `target` with its id. Hashes of the ids are
    compared, 16 bytes a row.

    Raises RevisionError where an id has no partner or the target has it twice.
    """
    theirs = np.concatenate([id_names(ids) for ids in _ids(target)])
    order = np.argsort(theirs, kind="stable")
    theirs = theirs[order]
    if (theirs[1:] == theirs[:-1]).any():
        raise RevisionError(
            f"{target.path}: ids are not unique, so rows cannot be paired; encode it again from unique ids"
        )
    partners, start = np.empty(len(source), np.int64), 0
    missing, first = 0, ""
    for ids in _ids(source):
        mine = id_names(ids)
        places = np.minimum(np.searchsorted(theirs, mine), len(theirs) - 1)
        absent = np.flatnonzero(theirs[places] != mine)
        if len(absent) and not missing:
            first = ids[absent[0]]
        missing += len(absent)
        partners[start : start + len(ids)] = order[places]
        start += len(ids)
    if missing:
        raise RevisionError(
            f"{source.path}: {missing} of {len(source)} ids are not in {target.path}, first '{first}'; "
            "leave out --pairs, or encode both stores from one list of pairs"
        )
    return partners


def _ids(store) -> Iterator[list[str]]:
    """All ids in order, few of them in memory."""
    return (table.column("id").to_pylist() for table in store.tables(["id"], IDS_AT_A_TIME))


@dataclass(frozen=True)
class Differences:
    """First and second moments of Delta = e_x - e_y over all pairs, float64."""

    count: int
    mean: np.ndarray  # [d]
    covariance: np.ndarray  # [d, d], centred


def stream_differences(source, target, partners: np.ndarray, transform: Callable | None = None) -> Differences:
    """Moments of the differences between each unit-norm target row and its source row, in one pass.

    `partners` [N] are the target's rows as `match_ids` gives them; `transform` maps float64 source tensors [n, d]
    first.
    """
    total = torch.zeros(source.dim, dtype=torch.float64)
    outer = torch.zeros(source.dim, source.dim, dtype=torch.float64)
    start = 0
    with track("pairs", total=len(source), unit="row", delay=2.0) as advance:
        for block in source.blocks(block_rows(source.dim) * BLOCKS):
            y = unit_rows(block)
            y = y if transform is None else transform(y)
            difference = unit_rows(target.take(partners[start : start + len(block)])) - y
            total += difference.sum(0)
            outer.addmm_(difference.T, difference)
            start += len(block)
            advance(len(block))
    mean = (total / start).numpy()
    return Differences(start, mean, outer.numpy() / start - np.outer(mean, mean))


def sample(rng: np.random.Generator, count: int, most: int) -> np.ndarray:
    """At most `most` of the positions below `count`, in their order."""
    return np.sort(rng.choice(count, min(most, count), replace=False))


def sampled_positions(
    source, target, partners: np.ndarray | None, *, rows: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """At most `rows` positions [n] in each store, drawn by `seed`: pairs where `partners` [N] of the source's rows are
    given, as `match_ids` gives them, else independent.
    """
    rng = np.random.default_rng(seed)
    chosen = sample(rng, len(source), rows)
    return chosen, sample(rng, len(target), rows) if partners is None else partners[chosen]


def sampled_rows(
    source, target, partners: np.ndarray | None, *, rows: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The unit-norm float64 rows [n, d] of each store at `sampled_positions`."""
    chosen, others = sampled_positions(source, target, partners, rows=rows, seed=seed)
    return unit_rows(source.take(chosen)), unit_rows(target.take(others))


def unit_rows(block: np.ndarray):
    """A block [n, d] of any float dtype as a float64 tensor of unit-norm rows."""
    x = to_float64(block)
    return x / x.norm(dim=1, keepdim=True)
