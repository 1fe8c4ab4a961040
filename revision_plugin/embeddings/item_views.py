"""Views of items as rows of a store: which rows belong to one item, and the wholes or the parts alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from ..errors import RevisionError
from .store import Store

WHOLE, PARTS = KINDS = ("whole", "parts")
PART_NUMBER = re.compile(r"[1-9][0-9]{0,4}")


def require_consecutive(ids: Sequence[str], views: Sequence[int]) -> None:
    """Raise RevisionError unless each item's views follow one another, numbered from 0."""
    for row, (identity, view) in enumerate(zip(ids, views, strict=True)):
        follows = row and ids[row - 1] == identity and views[row - 1] == view - 1
        if view and not follows:
            raise RevisionError(f"view {view} of '{identity}' does not follow view {view - 1} of it")


def item_starts(store: Store) -> range | np.ndarray:
    """The row at which each item of a store begins, and behind the last item the number of rows: [items + 1]."""
    if store.manifest.views is None:
        return range(len(store) + 1)
    views = store.column("view").to_numpy()
    return np.append(np.flatnonzero(views == 0), len(views))


def item_values(store: Store, name: str) -> pa.ChunkedArray:
    """A column of a store, of each item its first row's value."""
    if store.manifest.views is None:
        return store.column(name)
    return _chosen(store.column(name), store.column("view").to_numpy() == 0)


def _chosen(column: pa.ChunkedArray, mask: np.ndarray) -> pa.ChunkedArray:
    """The values of a column where `mask` is true, chunk by chunk: together texts may be too long for one array."""
    ends = np.cumsum([len(chunk) for chunk in column.chunks])
    chunks = [chunk.filter(pa.array(part)) for chunk, part in zip(column.chunks, np.split(mask, ends[:-1]))]
    return pa.chunked_array(chunks, column.type)


def require_same_view(name: str, first: str | None, other: str, second: str | None) -> None:
    """Raise RevisionError where rows or an aligner of one kind of view meet those of another."""
    if (first or WHOLE) != (second or WHOLE):
        raise RevisionError(
            f"{name}: is of {_kind(first)}, {other} of {_kind(second)}; choose the same with --view (in Python: "
            "of_view)"
        )


def _kind(view: str | None) -> str:
    return {None: "wholes", WHOLE: "wholes", PARTS: "parts"}.get(view, f"part {view}")


def of_view(store: Store, view: str | None) -> Store:
    """The rows of one kind of view: `whole`, `parts`, or the number of one part; None takes a store as it is.

    Raises RevisionError for another word, and for parts of a store that has none.
    """
    if view is None or (view == WHOLE and store.manifest.views is None):
        return store
    if view not in KINDS and not PART_NUMBER.fullmatch(view):
        raise RevisionError(f"--view {view[:40]}: write {WHOLE}, {PARTS} or the number of a part, from 1")
    if store.manifest.views is None:
        raise RevisionError(f"{store.path}: has one row an item and no parts; encode it with --views")
    selected = ViewsOfOneKind(store, view)
    if not len(selected):
        raise RevisionError(f"{store.path}: no item has a view '{view}'")
    return selected


class ViewsOfOneKind(Store):
    """The rows of `store` that are one kind of view, in its order; in all else the store itself."""

    def __init__(self, store: Store, view: str):
        super().__init__(store.path, store.manifest, store._tables)
        self._store, self.view = store, view
        views = store.column("view").to_numpy()
        self._mask = views == 0 if view == WHOLE else views > 0 if view == PARTS else views == int(view)
        self._rows = np.flatnonzero(self._mask)

    def __reduce__(self):
        return of_view, (self._store, self.view)

    def __len__(self) -> int:
        return len(self._rows)

    def blocks(self, rows: int = 4096, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """As the store's, but copies: [<= rows, dim] each, of those among so many rows of the store."""
        chosen = self._rows[start:stop]
        if not len(chosen):
            return
        position, done = int(chosen[0]), 0
        for block in self._store.blocks(rows, position, int(chosen[-1]) + 1):
            upto = int(np.searchsorted(chosen, position + len(block)))
            if upto > done:
                yield block[chosen[done:upto] - position]
            position, done = position + len(block), upto

    def span(self, start: int, stop: int) -> np.ndarray:
        return self.take(np.arange(start, stop)).astype(np.float32)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self._store.take(self._rows[rows])

    def column(self, name: str) -> pa.ChunkedArray:
        return _chosen(self._store.column(name), self._mask)

    def row(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a store with {len(self)} such views")
        return self._store.row(int(self._rows[index]))

    def verify_embeddings(self) -> None:
        """`verify` of the embeddings, and of which view each is."""
        self._verify_columns(["embedding", "view"])
