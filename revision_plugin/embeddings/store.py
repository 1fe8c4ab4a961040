"""The embedding store: a folder of Arrow shards that `datasets.load_from_disk` opens, with a manifest.

Columns: `id` (string), `embedding` (fixed-size list of float16 or float32) and, for texts, `text` and
`conversations` (null where none was given). Reading maps the files into memory: opening costs milliseconds,
and all processes of a machine share the pages.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from .._common.files import hash_json, is_count, is_texts, read_object, require_regular, require_types
from ..encoders.identity import Identity
from ..errors import RevisionError, first_line

MANIFEST = "manifest.json"
FAILURES = "failures.jsonl"
FORMAT_VERSION = 1
DTYPES = {"float16": np.float16, "float32": np.float32}
SHARD_NAME = re.compile(r"[\w-][\w.-]*")  # a file of the store's own folder
HASH = re.compile(r"[0-9a-f]{128}")
MANIFEST_TYPES = {
    "modality": lambda value: value in ("text", "image"),
    "dim": lambda value: is_count(value) and 0 < value < 2**31,  # Arrow's limit of a list
    "dtype": lambda value: value in tuple(DTYPES),
    "count": lambda value: is_count(value) and value > 0,
    "unit_norm": lambda value: value is True,
    "content_hash": lambda value: isinstance(value, str),
    "conversations": is_count,
    "failures": is_count,
    "shards": lambda value: is_texts(value) and len({*value}) == len(value) and all(map(SHARD_NAME.fullmatch, value)),
    "versions": lambda value: isinstance(value, dict),
}
UNIT_NORM_TOLERANCE = {"float16": 1e-2, "float32": 1e-3}


@dataclass(frozen=True)
class Manifest:
    """What a store holds and where it came from."""

    modality: str
    encoder: Identity
    dim: int
    dtype: str
    count: int
    unit_norm: bool
    content_hash: str
    conversations: int
    failures: int
    shards: list[str]
    versions: dict
    aligner: dict | None = None
    kind: str = "store"
    format_version: int = FORMAT_VERSION
    columns: dict[str, str] | None = None  # hashes by column, of which `content_hash` is made

    def to_json(self) -> dict:
        """Plain values under a hash of their own."""
        values = {**asdict(self), "encoder": self.encoder.to_json()}
        return {**values, "manifest_hash": hash_json(values)}

    @classmethod
    def from_json(cls, value: dict, where: Path) -> Manifest:
        """Read what `to_json` gave. Raises RevisionError with everything that is wrong with it."""
        remedy = "encode the store again"
        value = dict(value)
        if value.get("kind") != "store" or value.get("format_version") != FORMAT_VERSION:
            raise RevisionError(f"{where}: not the manifest of a store of format version {FORMAT_VERSION}; {remedy}")
        require_types(value, MANIFEST_TYPES, str(where), remedy)
        if value.pop("manifest_hash", None) not in (None, hash_json(value)):  # stores of old have none
            raise RevisionError(f"{where}: was edited or damaged; {remedy}")
        encoder = Identity.from_json(value.get("encoder"), str(where))
        if not isinstance(value.get("aligner"), (dict, type(None))):
            raise RevisionError(f"{where}: its 'aligner' names none; {remedy}")
        unknown = sorted(value.keys() - cls.__dataclass_fields__.keys())
        if unknown:
            raise RevisionError(f"{where}: holds '{unknown[0]}', which no manifest has; {remedy}")
        manifest = cls(**{**value, "encoder": encoder})
        if not _is_hashes(manifest.columns, arrow_schema(manifest.modality, manifest.dim, manifest.dtype).names):
            raise RevisionError(f"{where}: its 'columns' are no hashes of its columns; {remedy}")
        if manifest.columns is not None and manifest.content_hash != manifest.joined(manifest.columns):
            raise RevisionError(f"{where}: was edited or damaged; {remedy}")
        return manifest

    def joined(self, columns: dict[str, str]) -> str:
        """The content hash that columns of these hashes have."""
        return joined_hash(columns, self.modality, self.dim, self.dtype)


def _is_hashes(columns: object, names: list[str]) -> bool:
    """Whether they are hashes of exactly these columns, or None, as in stores of old."""
    if columns is None:
        return True
    return (
        isinstance(columns, dict)
        and sorted(columns) == sorted(names)
        and all(isinstance(each, str) and HASH.fullmatch(each) for each in columns.values())
    )


def arrow_schema(modality: str, dim: int, dtype: str) -> pa.Schema:
    """The shards' Arrow schema."""
    fields = [("id", pa.string()), ("embedding", pa.list_(pa.from_numpy_dtype(DTYPES[dtype]), dim))]
    if modality == "text":
        turn = pa.struct([("from", pa.string()), ("value", pa.string())])
        fields += [("text", pa.string()), ("conversations", pa.list_(turn))]
    return pa.schema(fields)


def is_store(path: str | Path) -> bool:
    """Whether `path` is (or claims to be) an embedding store rather than a host's own data file."""
    return Path(path).is_dir() and (Path(path) / MANIFEST).is_file()


class Store:
    """An open, read-only embedding store. Make one with `Store.open`."""

    def __init__(self, path: Path, manifest: Manifest, tables: list[pa.Table]):
        self.path = path
        self.manifest = manifest
        self._tables = [table for table in tables if table.num_rows]
        self._starts = np.cumsum([0] + [table.num_rows for table in self._tables])

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Map a finished store. Raises RevisionError for anything missing, unfinished, cut or inconsistent."""
        path = Path(path)
        if not path.is_dir():
            raise RevisionError(f"{path}: no such embedding store; make one with 'revision encode'")
        if not (path / MANIFEST).is_file():
            raise RevisionError(
                f"{path}: no {MANIFEST}, so not a finished embedding store; make one with 'revision encode'"
            )
        manifest = Manifest.from_json(read_object(path / MANIFEST), path / MANIFEST)
        shape = (manifest.modality, manifest.dim, manifest.dtype)
        tables = [map_shard(path / name, *shape) for name in manifest.shards]
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

    def require(self, modality: str, role: str) -> None:
        """Raise RevisionError unless it holds embeddings of that modality, not aligned: `role` says what for."""
        if self.manifest.modality != modality:
            kinds = {"text": "texts", "image": "images"}
            raise RevisionError(
                f"{self.path}: is a store of {kinds[self.manifest.modality]}; {role} must be one of {kinds[modality]}"
            )
        if self.manifest.aligner:
            method = self.manifest.aligner.get("method", "an aligner")
            raise RevisionError(f"{self.path}: is already aligned ({method}); give the original store")

    def verify(self) -> None:
        """Raise RevisionError unless the rows still have the manifest's content hash; reads all of them."""
        try:
            for table in self._tables:
                table.validate(full=True)
        except pa.ArrowException as error:
            raise _damaged(self.path, error) from None
        manifest = self.manifest
        self._require_hash(manifest.joined(column_hashes(self._tables, manifest.modality, manifest.dim)))

    def verify_embeddings(self) -> None:
        """`verify` of the embeddings alone, for who reads nothing else. An old store is verified whole."""
        known = self.manifest.columns
        if known is None:
            return self.verify()
        now = column_hashes(self._tables, self.manifest.modality, self.dim, ["embedding"])
        return self._require_hash(self.manifest.joined({**known, **now}))

    def _require_hash(self, actual_hash: str) -> None:
        if actual_hash != self.manifest.content_hash:
            raise RevisionError(
                f"{self.path}: the content does not match its hash; a shard was damaged or edited: encode it again"
            )


def map_shard(path: Path, modality: str, dim: int, dtype: str) -> pa.Table:
    """One shard, mapped into memory. Raises RevisionError where it is missing, damaged or has other columns."""
    require_shard(path)
    try:
        table = pa.ipc.open_stream(pa.memory_map(os.fsencode(path))).read_all()
        table.validate()
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise _damaged(path, error) from None
    expected = arrow_schema(modality, dim, dtype)
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


def column_hashes(
    tables: list[pa.Table], modality: str, dim: int, names: Sequence[str] | None = None
) -> dict[str, str]:
    """By column (all of them, or `names`) a hash of its values in order, which does not depend on how they are cut into
    shards.
    """
    wanted = arrow_schema(modality, dim, "float32").names if names is None else names
    columns = {name: hashlib.blake2b() for name in wanted}
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


def joined_hash(columns: dict[str, str], modality: str, dim: int, dtype: str) -> str:
    """The content hash of rows whose columns have these hashes."""
    store_hasher = hashlib.blake2b(f"{modality} {dim} {dtype}".encode(), digest_size=32)
    for name in sorted(columns):
        store_hasher.update(name.encode() + bytes.fromhex(columns[name]))
    return store_hasher.hexdigest()
