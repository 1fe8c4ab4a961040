"""The embedding store: a folder of Arrow shards that `datasets.load_from_disk` opens, with a manifest.

Columns: `id` (string), `embedding` (fixed-size list of float16 or float32) and, for texts, `text` and
`conversations` (null where none was given). A store of views has a row a view, one after another for each item, and
their numbers in `view`: 0 for the whole, then its parts. Reading maps the files into memory: opening costs
milliseconds, and all processes of a machine share the pages.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from .._common.files import read_object, require_regular
from .._common.shared_folders import SharedKind, is_shared, local_folder
from ..encoders.identity import Identity
from ..errors import RevisionError, first_line
from .manifest import DTYPES, MANIFEST, UNIT_NORM_TOLERANCE, Manifest

FAILURES = "failures.jsonl"
SHARED = SharedKind("embedding store", "dataset", (MANIFEST, "*.arrow"))


def is_store(path: str | Path) -> bool:
    """Whether `path` is (or claims to be) an embedding store rather than a host's own data file."""
    if is_shared(path):
        return True
    return Path(path).is_dir() and (Path(path) / MANIFEST).is_file()


def store_folder(path: str | Path) -> Path:
    """The folder of a store: `path`, or where `hf:OWNER/NAME@COMMIT` lies when it is downloaded."""
    return local_folder(path, SHARED)


class Store:
    """An open, read-only embedding store. Make one with `Store.open`."""

    view: str | None = None  # which kind it shows, where it has several views an item and one of them was chosen

    def __init__(self, path: Path, manifest: Manifest, tables: list[pa.Table]):
        self.path = path
        self.manifest = manifest
        self._tables = [table for table in tables if table.num_rows]
        self._starts = np.cumsum([0] + [table.num_rows for table in self._tables])

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Map a finished store: a folder, or `hf:OWNER/NAME@COMMIT` of a dataset repository in the hub.

        Raises RevisionError for anything missing, unfinished, cut or inconsistent, or that cannot be had from the hub.
        """
        path = store_folder(path)
        if not path.is_dir():
            raise RevisionError(f"{path}: no such embedding store; make one with 'revision encode'")
        if not (path / MANIFEST).is_file():
            raise RevisionError(
                f"{path}: no {MANIFEST}, so not a finished embedding store; make one with 'revision encode'"
            )
        manifest = Manifest.from_json(read_object(path / MANIFEST), path / MANIFEST)
        tables = [map_shard(path / name, manifest.schema) for name in manifest.shards]
        rows = sum(table.num_rows for table in tables)
        if rows != manifest.count:
            raise RevisionError(
                f"{path}: the manifest says {manifest.count} rows, the shards hold {rows}; encode it again"
            )
        return cls(path, manifest, tables)

    def __reduce__(self):
        return Store.open, (self.path,)

    def __len__(self) -> int:
        return self.manifest.count

    @property
    def dim(self) -> int:
        return self.manifest.dim

    @property
    def encoder(self) -> Identity:
        """The encoder that made it."""
        return self.manifest.encoder

    @property
    def norm_tolerance(self) -> float:
        """How far from 1 the norm of a stored embedding can be, by rounding to the store's dtype."""
        return UNIT_NORM_TOLERANCE[self.manifest.dtype]

    def blocks(self, rows: int = 4096, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Embeddings `start` to `stop` in order, as read-only zero-copy blocks [<= rows, dim] of the store's dtype."""
        stop = len(self) if stop is None else min(stop, len(self))
        position = 0
        for table in self._tables:
            for matrix in _matrices(table, self.dim):
                low, high = max(start - position, 0), min(stop - position, len(matrix))
                for first in range(low, high, rows):
                    yield matrix[first : min(first + rows, high)]
                position += len(matrix)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Embeddings [len(rows), dim] of the store's dtype at these positions, in their order; a copy."""
        embeddings = np.empty((len(rows), self.dim), DTYPES[self.manifest.dtype])
        position = 0
        for table in self._tables:
            for matrix in _matrices(table, self.dim):
                here = (rows >= position) & (rows < position + len(matrix))
                embeddings[here] = matrix[rows[here] - position]
                position += len(matrix)
        return embeddings

    def column(self, name: str) -> pa.ChunkedArray:
        """A whole text column as a `pyarrow.ChunkedArray` (memory-mapped)."""
        return pa.chunked_array([chunk for table in self._tables for chunk in table.column(name).chunks])

    def ids(self) -> list[str]:
        return self.column("id").to_pylist()

    def row(self, index: int) -> dict:
        """One row: `id`, `embedding` (float32 copy [dim]) and, for texts, `text` and `conversations`."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a store with {len(self)} rows")
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        table, offset = self._tables[shard], index - int(self._starts[shard])
        row = {name: table.column(name)[offset].as_py() for name in table.column_names if name != "embedding"}
        scalar = table.column("embedding")[offset]
        row["embedding"] = np.asarray(scalar.values.to_numpy(), np.float32).copy()
        return row

    def span(self, start: int, stop: int) -> np.ndarray:
        """Embeddings `start` to `stop` of one item, as a float32 copy [stop - start, dim]."""
        shard = int(np.searchsorted(self._starts, start, side="right")) - 1
        column = self._tables[shard].column("embedding").slice(start - int(self._starts[shard]), stop - start)
        return (
            np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
            .astype(np.float32)
            .reshape(-1, self.dim)
        )

    def require(self, modality: str, role: str) -> None:
        """Raise RevisionError unless it holds embeddings of that modality, not aligned, and one kind of view: `role`
        says what for.
        """
        if self.manifest.modality != modality:
            kinds = {"text": "texts", "image": "images"}
            raise RevisionError(
                f"{self.path}: is a store of {kinds[self.manifest.modality]}; {role} must be one of {kinds[modality]}"
            )
        if self.manifest.aligner:
            method = self.manifest.aligner.get("method", "an aligner")
            raise RevisionError(f"{self.path}: is already aligned ({method}); give the original store")
        if self.manifest.views and self.view is None:
            raise RevisionError(
                f"{self.path}: holds views of each item ({self.manifest.views}), wholes and parts; choose with --view "
                "whole or --view parts (in Python: of_view)"
            )

    def verify(self) -> None:
        """Raise RevisionError unless the rows still have the manifest's content hash; reads all of them."""
        try:
            for table in self._tables:
                table.validate(full=True)
        except pa.ArrowException as error:
            raise _damaged(self.path, error) from None
        manifest = self.manifest
        self._require_hash(manifest.joined(column_hashes(self._tables, manifest.dim, manifest.schema.names)))

    def verify_embeddings(self) -> None:
        """`verify` of the embeddings alone, for who reads nothing else. An old store is verified whole."""
        self._verify_columns(["embedding"])

    def _verify_columns(self, names: list[str]) -> None:
        known = self.manifest.columns
        if known is None:
            return self.verify()
        now = column_hashes(self._tables, self.dim, names)
        return self._require_hash(self.manifest.joined({**known, **now}))

    def _require_hash(self, actual_hash: str) -> None:
        if actual_hash != self.manifest.content_hash:
            raise RevisionError(
                f"{self.path}: the content does not match its hash; a shard was damaged or edited: encode it again"
            )


def map_shard(path: Path, expected: pa.Schema) -> pa.Table:
    """One shard, mapped into memory. Raises RevisionError where it is missing, damaged or has other columns."""
    require_shard(path)
    try:
        table = pa.ipc.open_stream(pa.memory_map(os.fsencode(path))).read_all()
        table.validate()
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise _damaged(path, error) from None
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


def _damaged(path: Path, error: Exception) -> RevisionError:
    return RevisionError(f"{path}: shard is damaged ({first_line(error)}); encode the store again")


def _matrices(table, dim: int) -> Iterator[np.ndarray]:
    for chunk in table.column("embedding").chunks:
        yield chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, dim)


def column_hashes(tables: list[pa.Table], dim: int, names: Sequence[str]) -> dict[str, str]:
    """By column of `names` a hash of its values in order, which does not depend on how they are cut into
    shards.
    """
    columns = {name: hashlib.blake2b() for name in names}
    for table in tables:
        for name, hasher in columns.items():
            if name == "embedding":
                for matrix in _matrices(table, dim):
                    hasher.update(np.ascontiguousarray(matrix).data)
                continue
            for batch in table.select([name]).to_batches(max_chunksize=4096):
                for value in batch.column(0).to_pylist():
                    hasher.update(json.dumps(value).encode() + b"\n")
    return {name: hasher.hexdigest() for name, hasher in columns.items()}
