"""Finished chunks of a store that is being filled, joined to shards.

Where a shard ends depends on the corpus and `rows_per_shard` alone: before the first chunk with rows that finds so many
rows in it. So several processes can join shards, in any order and after any stop, and the shards are the same.
A shard is hashed while it is joined, and its chunks are deleted when it is on the disk.
"""

from __future__ import annotations

import bisect
import collections
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._common.files import read_object, whole_file, write_json
from ..errors import RevisionError
from .chunk_files import ChunkFiles
from .content_hashes import ColumnHashes
from .manifest import SHARD_NAMES
from .mapped_shards import map_shard
from .unique_ids import id_hashes

JOINED = "joined"
BATCH_BYTES = 2**24  # of a shard's record batches, about: memory holds few of them while a shard is joined
Position = tuple[int, int]  # part and chunk


@dataclass(frozen=True)
class Extent:
    """The chunks of a shard: from `first` to before `end`, in the order of the corpus."""

    first: Position
    end: Position


class JoinedShards:
    """The shards in the folder `partial` of a corpus of so many `parts`. `owner` mends what a power loss left."""

    def __init__(
        self, partial: Path, chunks: ChunkFiles, schema: pa.Schema, *, parts: int, rows_per_shard: int, owner: bool
    ):
        self.partial, self.folder = partial, partial / JOINED
        self._chunks, self._schema = chunks, schema
        self._parts, self._rows_per_shard = parts, rows_per_shard
        self._extents: dict[int, Extent] = {}
        self._order: list[int] = []
        self.mark = functools.lru_cache(4)(lambda number: read_object(self.paths(number)[1]))
        self._begin(0, (0, 0))
        self.refresh(mend=owner)

    def paths(self, number: int) -> tuple[Path, Path, Path]:
        """The files of a shard's rows, its mark and the hashes of its ids."""
        name = self.folder / f"{number:05d}"
        return self.partial / (SHARD_NAMES % number), name.with_suffix(".json"), name.with_suffix(".npy")

    def refresh(self, *, mend: bool = False) -> None:
        """Look for shards that other processes, or an earlier run, have joined."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        for number in sorted(int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit()):
            if number in self._extents:
                continue
            rows, done, _ = self.paths(number)
            try:
                mark = read_object(done)
                whole = map_shard(rows, self._schema).num_rows == mark["rows"]
            except (RevisionError, KeyError):
                whole = False
            if whole:
                self._add(number, Extent(tuple(mark["first"]), tuple(mark["end"])))
            if mend and whole:
                self._chunks.remove([(part, chunk) for part, chunk, *_ in mark["chunks"]])  # a kill left them
            elif mend:
                done.unlink(missing_ok=True)  # its chunks are made again

    def holding(self, position: Position) -> int | None:
        """The number of the shard that holds a chunk, where one does."""
        place = bisect.bisect_right(self._order, position, key=lambda number: self._extents[number].first)
        number = self._order[place - 1] if place else None
        return number if number is not None and position < self._extents[number].end else None

    def numbers(self) -> list[int]:
        """The numbers of those joined so far, in order."""
        return self._order

    def extent(self, number: int) -> Extent:
        """The chunks of a joined shard."""
        return self._extents[number]

    def _add(self, number: int, extent: Extent) -> None:
        self._extents[number] = extent
        bisect.insort(self._order, number)

    def join(self, mine: Callable[[int], bool]) -> None:
        """Join those shards whose chunks, and all before them, are done; of them the numbers that are `mine`."""
        while self._advance(mine):
            pass

    def join_rest(self) -> bool:
        """Join all that no process has joined; whether the shards hold all chunks of all parts now."""
        self.refresh()
        self._begin(0, (0, 0))
        self.join(lambda number: True)
        return self._end == (self._parts, 0) and not self._open and self._order == [*range(self._number)]

    def _begin(self, number: int, position: Position) -> None:
        self._number, self._first, self._end = number, position, position
        self._open: list[tuple[int, int, dict]] = []
        self._rows = 0

    def _advance(self, mine: Callable[[int], bool]) -> bool:
        """Go on by a chunk, a part's end or a shard; False where what comes next is not there yet."""
        if self._number in self._extents:
            self._begin(self._number + 1, self._extents[self._number].end)
            return True
        part, chunk = self._end
        if part == self._parts:
            return bool(self._open) and self._close(mine)
        if chunk == self._chunks.count(part):
            self._end = (part + 1, 0)
            return True
        following = self._extents.get(self._number + 1)
        if self._open and following is not None and following.first == self._end:
            return self._close(mine)
        mark = self._chunks.mark(part, chunk)
        if mark is None:
            self.refresh()  # another process may have joined it a moment ago, and deleted it
            return self._number in self._extents
        if self._rows >= self._rows_per_shard and mark["rows"]:
            return self._close(mine)
        self._open.append((part, chunk, mark))
        self._rows += mark["rows"]
        self._end = (part, chunk + 1)
        return True

    def _close(self, mine: Callable[[int], bool]) -> bool:
        number, end = self._number, self._end
        if mine(number):
            tables = [self._chunks.table(part, chunk, mark["rows"]) for part, chunk, mark in self._open]
            whole = collections.deque(table for table in tables if table is not None)
            if len(whole) < len(tables):
                self._begin(number, self._first)  # who made the damaged chunk finds it, and makes it again
                return False
            tables.clear()  # a chunk that is written leaves memory
            self._write(whole)
            self._add(number, Extent(self._first, end))
            self._chunks.remove([(part, chunk) for part, chunk, _ in self._open])
        self._begin(number + 1, end)
        return True

    def _write(self, tables: collections.deque[pa.Table]) -> None:
        rows, done, ids = self.paths(self._number)
        hashes = ColumnHashes(self._schema.names, self._schema.field("embedding").type.list_size)
        of_ids, talks = [np.empty(0, "<u8")], 0
        self.folder.mkdir(exist_ok=True)
        with whole_file(rows) as handle, pa.ipc.new_stream(handle, self._schema) as stream:
            for table in _batches(tables):
                stream.write_table(table)
                hashes.update(table)
                of_ids.append(id_hashes(item_ids(table).to_pylist()))
                if "conversations" in table.column_names:
                    talks += len(table) - table.column("conversations").null_count
        with whole_file(ids) as handle:
            np.save(handle, np.sort(np.concatenate(of_ids)))
        mark = {
            "rows": self._rows,
            "bytes": rows.stat().st_size,
            "items": sum(map(len, of_ids)),
            "conversations": talks,
            "columns": hashes.values(),
            "first": self._first,
            "end": self._end,
            "chunks": [
                [part, chunk, mark["rows"], len(mark["failures"]), mark.get("truncated", 0)]
                for part, chunk, mark in self._open
            ],
            "failures": [failure for _, _, mark in self._open for failure in mark["failures"]],
        }
        write_json(done, mark)

    def chunk_failures(self, number: int, position: Position) -> list[dict]:
        """The failures that were noted in one chunk of a shard."""
        mark, start = self.mark(number), 0
        for part, chunk, _, failures, _ in mark["chunks"]:
            if (part, chunk) == position:
                return mark["failures"][start : start + failures]
            start += failures
        return []


def item_ids(table: pa.Table) -> pa.ChunkedArray:
    """The ids of a table's items: of a store of views, those of the wholes."""
    if "view" in table.column_names:
        table = table.select(["id", "view"]).filter(pc.equal(table.column("view"), 0))
    return table.column("id")


def _batches(tables: collections.deque[pa.Table]) -> Iterator[pa.Table]:
    """The rows of `tables`, which are taken out of it, in tables of one record batch each."""
    group: list[pa.Table] = []
    while tables:
        group.append(tables.popleft())
        if not tables or sum(each.nbytes for each in group) + tables[0].nbytes > BATCH_BYTES:
            batch = pa.concat_tables(group).combine_chunks()
            group.clear()
            yield batch
