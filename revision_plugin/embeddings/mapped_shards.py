"""Shards of a store as tables that are mapped into memory when something reads them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from .._common.files import require_regular
from ..errors import RevisionError, first_line

MAPS = 1000  # that a process keeps: enough for shuffled rows, and far below the 65,530 maps that Linux allows one


class MappedShards:
    """The files `names` of `folder`, tables of `schema` with so many `rows` each; the last ones read stay mapped.

    Threads can read them at once. A shard that is missing, damaged, or has other columns or rows raises RevisionError
    when it is first read.
    """

    def __init__(self, folder: Path, names: Sequence[str], rows: Sequence[int], schema: pa.Schema):
        self.folder, self.names = folder, names
        self.starts = np.concatenate([[0], np.cumsum(np.asarray(rows, np.int64))])  # [shards + 1]
        self.checked: set[int] = set()  # that this process has compared with their hashes when it got them
        self.mapped: Callable[[int], pa.Table] = functools.partial(_table, folder, names, rows, schema)
        self._kept = functools.lru_cache(MAPS)(self.mapped)

    def __len__(self) -> int:
        return len(self.names)

    def table(self, shard: int) -> pa.Table:
        """The rows of one."""
        return self._kept(shard)

    def changed(self, shard: int, reason: str | None = None) -> RevisionError:
        """What to raise for a shard that does not match its hash, or is damaged for another reason."""
        path = self.folder / self.names[shard]
        if reason is not None:
            return damaged(path, reason)
        return RevisionError(
            f"{path}: the content does not match its hash; the shard was damaged or edited: encode the store again"
        )

    def tables(self) -> Iterator[pa.Table]:
        """All in order."""
        return map(self.table, range(len(self)))

    def place(self, row: int) -> tuple[int, int]:
        """The shard that holds a row, and the row's position in it."""
        shard = int(np.searchsorted(self.starts, row, side="right")) - 1
        return shard, row - int(self.starts[shard])


def _table(folder: Path, names: Sequence[str], rows: Sequence[int], schema: pa.Schema, shard: int) -> pa.Table:
    path = folder / names[shard]
    table = map_shard(path, schema)
    if table.num_rows != rows[shard]:
        raise damaged(path, f"{table.num_rows} rows, not {rows[shard]}")
    return table


def map_shard(path: Path, expected: pa.Schema) -> pa.Table:
    """One shard, mapped into memory. Raises RevisionError where it is missing, damaged or has other columns."""
    require_shard(path)
    try:
        table = pa.ipc.open_stream(pa.memory_map(os.fsencode(path))).read_all()
        table.validate()
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise damaged(path, first_line(error)) from None
    if not table.schema.remove_metadata().equals(expected):
        raise RevisionError(f"{path}: its columns are not those the manifest promises; encode the store again")
    required = [name for name in table.column_names if name != "conversations"]
    if any(table.column(name).null_count for name in required):
        raise RevisionError(f"{path}: rows lack their id, text or embedding; encode the store again")
    return table


def require_shard(path: Path) -> None:
    """Raise RevisionError where there is no shard, or something else in its place."""
    if not path.exists():
        raise RevisionError(f"{path}: shard is missing; encode the store again")
    require_regular(path)


def require_sizes(folder: Path, names: Sequence[str], sizes: Sequence[int]) -> None:
    """Raise RevisionError for a shard that is missing or has another size in bytes; from one listing of the folder."""
    with os.scandir(folder) as entries:
        present = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    for name, size in zip(names, sizes, strict=True):
        if present.get(name) != size:
            require_shard(folder / name)
            raise damaged(folder / name, f"{present.get(name)} bytes, not {size}")


def damaged(path: Path, reason: str) -> RevisionError:
    """What is raised for a file that is not what was written."""
    return RevisionError(f"{path}: shard is damaged ({reason}); encode the store again")
