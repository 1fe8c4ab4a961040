"""Views of items as rows of a store: which rows belong to one item, and the wholes or the parts alone."""

from __future__ import annotations

import functools
import re
from collections.abc import Container, Iterator, Sequence

import numpy as np
import pyarrow as pa

from ..errors import RevisionError
from .mapped_shards import MappedShards
from .store import Store

WHOLE, PARTS = KINDS = ("whole", "parts")
VALUES_AT_A_TIME = 65536
SHARDS_REMEMBERED = 64  # of whose views the positions are kept: up to 8 bytes a row
PART_NUMBER = re.compile(r"[1-9][0-9]{0,4}")


def require_consecutive(ids: Sequence[str], views: Sequence[int]) -> None:
    """Raise RevisionError unless each item's views follow one another, numbered from 0."""
    for row, (identity, view) in enumerate(zip(ids, views, strict=True)):
        follows = row and ids[row - 1] == identity and views[row - 1] == view - 1
        if view and not follows:
            raise RevisionError(f"view {view} of '{identity}' does not follow view {view - 1} of it")


class ItemStarts:
    """The row at which each item of a store of views begins, and behind the last item the number of rows:
    [items + 1]. Rows of the shards last asked about are in memory.
    """

    def __init__(self, store: Store):
        self._wholes = ViewsOfOneKind(store, WHOLE)
        self._end = len(store)

    def __len__(self) -> int:
        return len(self._wholes) + 1

    def __getitem__(self, item: int) -> int:
        return self._end if item == len(self._wholes) else self._wholes.place(item)

    def __iter__(self) -> Iterator[int]:
        for starts in self.parts():
            yield from starts.tolist()
        yield self._end

    def parts(self) -> Iterator[np.ndarray]:
        """The items' first rows, shard by shard: int64 [items of it]."""
        return self._wholes.positions()

    def most_views(self) -> int:
        """How many views the item with most of them has; reads the numbers of all views."""
        most, last = 0, 0
        for starts in [*self.parts(), np.array([self._end])]:
            if len(starts):
                most = max(most, int(np.diff(starts, prepend=last).max()))
                last = int(starts[-1])
        return most


def item_starts(store: Store) -> range | ItemStarts:
    """The row at which each item of a store begins, and behind the last item the number of rows: [items + 1]."""
    return range(len(store) + 1) if store.manifest.views is None else ItemStarts(store)


def item_texts(store: Store, name: str) -> Iterator[pa.Array]:
    """A column of a store, of each item its first row's value, in parts."""
    wholes = of_view(store, WHOLE)
    for table in wholes.tables([name], VALUES_AT_A_TIME):
        yield from table.column(name).chunks


def items_named(store: Store, wanted: Container[str | None]) -> dict[str, int]:
    """By id the number of each item whose id is among `wanted`; reads all ids, and keeps those."""
    found: dict[str, int] = {}
    number = 0
    for ids in item_texts(store, "id"):
        for identity in ids.to_pylist():
            if identity in wanted:
                found[identity] = number
            number += 1
    return found


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
        super().__init__(store.path, store.manifest, store.shards)
        self._store, self.view = store, view
        self._inside = functools.lru_cache(SHARDS_REMEMBERED)(functools.partial(_rows_of_kind, store.shards, view))
        items, rows = store.manifest.shard_items, np.diff(store.shards.starts)
        if items is not None and view in KINDS:
            counts = np.array(items) if view == WHOLE else rows - np.array(items)
        else:
            counts = np.array([len(self._inside(shard)) for shard in range(len(store.shards))])
        self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    def __reduce__(self):
        return of_view, (self._store, self.view)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def place(self, index: int) -> int:
        """The row of the store at which such a view stands."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a store with {len(self)} such views")
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        return int(self.shards.starts[shard] + self._inside(shard)[index - self._starts[shard]])

    def positions(self) -> Iterator[np.ndarray]:
        """The rows of the store at which they stand, shard by shard."""
        return (self.shards.starts[shard] + self._inside(shard) for shard in range(len(self.shards)))

    def blocks(self, rows: int = 4096, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """As the store's, but copies: [<= rows, dim] each, of those among so many rows of the store."""
        stop = len(self) if stop is None else min(stop, len(self))
        while start < stop:
            shard = int(np.searchsorted(self._starts, start, side="right")) - 1
            first, upto = start - int(self._starts[shard]), min(stop, int(self._starts[shard + 1]))
            chosen = self._inside(shard)[first : upto - int(self._starts[shard])]
            position, done = int(chosen[0]), 0
            base = int(self.shards.starts[shard])
            for block in self._store.blocks(rows, base + position, base + int(chosen[-1]) + 1):
                end = int(np.searchsorted(chosen, position + len(block)))
                if end > done:
                    yield block[chosen[done:end] - position]
                position, done = position + len(block), end
            start = upto

    def span(self, start: int, stop: int) -> np.ndarray:
        return self.take(np.arange(start, stop)).astype(np.float32)

    def take(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, np.int64)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        places = np.empty(len(rows), np.int64)
        for shard in np.unique(shards).tolist():
            mine = shards == shard
            places[mine] = self.shards.starts[shard] + self._inside(shard)[rows[mine] - self._starts[shard]]
        return self._store.take(places)

    def _selected(self, names: Sequence[str]) -> Iterator[pa.Table]:
        for shard in range(len(self.shards)):
            table = self.shards.table(shard).select(list(names))
            mask = np.zeros(len(table), bool)
            mask[self._inside(shard)] = True
            position = 0
            for batch in table.to_batches(max_chunksize=VALUES_AT_A_TIME):  # together texts may be too long for one
                yield pa.Table.from_batches([batch.filter(pa.array(mask[position : position + len(batch)]))])
                position += len(batch)

    def row(self, index: int) -> dict:
        return self._store.row(self.place(index))

    def verify_embeddings(self) -> None:
        """`verify` of the embeddings, and of which view each is."""
        self._verify(["embedding", "view"])


def _rows_of_kind(shards: MappedShards, view: str, shard: int) -> np.ndarray:
    """Where the views of one kind stand in a shard."""
    views = shards.table(shard).column("view").to_numpy()
    return np.flatnonzero(views == 0 if view == WHOLE else views > 0 if view == PARTS else views == int(view))
