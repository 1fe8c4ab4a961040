"""Hashes of a store's content, column by column: of rows in order, however they are cut into files and batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ROWS_AT_A_TIME = 4096  # as text in memory


class ColumnHashes:
    """By column of `names` a hash of its values in the order in which tables of rows are given to `update`."""

    def __init__(self, names: Sequence[str], dim: int):
        self._hashers = {name: hashlib.blake2b() for name in names}
        self._dim = dim

    def update(self, table: pa.Table) -> None:
        """The next rows."""
        for name, hasher in self._hashers.items():
            if name == "embedding":
                for matrix in matrices(table, self._dim):
                    hasher.update(np.ascontiguousarray(matrix).data)
                continue
            for chunk in table.column(name).chunks:
                for start in range(0, len(chunk), ROWS_AT_A_TIME):
                    hasher.update(_lines(chunk.slice(start, ROWS_AT_A_TIME)).encode())

    def values(self) -> dict[str, str]:
        """By column its hash, in hex."""
        return {name: hasher.hexdigest() for name, hasher in self._hashers.items()}


def column_hashes(tables: Iterable[pa.Table], dim: int, names: Sequence[str]) -> dict[str, str]:
    """By column of `names` the hash of its values in these tables."""
    hashes = ColumnHashes(names, dim)
    for table in tables:
        hashes.update(table)
    return hashes.values()


def hash_of_shards(rows: Sequence[int], hashes: Sequence[str]) -> str:
    """The hash of a column whose shards have so many rows and these hashes."""
    parts = (count.to_bytes(8, "little") + bytes.fromhex(each) for count, each in zip(rows, hashes, strict=True))
    return hashlib.blake2b(b"".join(parts)).hexdigest()


def matrices(table: pa.Table, dim: int) -> Iterator[np.ndarray]:
    """A table's embeddings [n, dim], a zero-copy array a record batch."""
    for chunk in table.column("embedding").chunks:
        yield chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, dim)


def _lines(array: pa.Array) -> str:
    """What `json.dumps` makes of each value, and a line feed behind it."""
    if array.null_count == len(array):
        return "null\n" * len(array)
    if pa.types.is_list(array.type):
        lines = _conversations(array)
        return "".join(f"{line}\n" for line in lines)
    return f"{_flat(array)}\n"


def _flat(array: pa.Array) -> str:
    """Texts or numbers: a list in JSON that has line feeds for commas, which JSON holds nowhere else."""
    return json.dumps(array.to_pylist(), separators=("\n", ":"))[1:-1]


def _conversations(array: pa.Array) -> list[str]:
    """Lists of turns. Put together from the turns' texts: a value in Python for each turn would cost several times as
    much.
    """
    turns = array.flatten()
    if turns.null_count or not len(turns):
        return [json.dumps(value) for value in array.to_pylist()]
    keys = [field.name for field in array.type.value_type]
    columns = [_flat(child).split("\n") for child in turns.flatten()]
    form = "{" + ", ".join(f"{json.dumps(key)}: %s" for key in keys) + "}"
    texts = [form % values for values in zip(*columns)]
    lines, position = [], 0
    for length in pc.list_value_length(array).to_pylist():
        if length is None:
            lines.append("null")
        else:
            lines.append(f"[{', '.join(texts[position : position + length])}]")
            position += length
    return lines
