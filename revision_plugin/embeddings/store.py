"""The embedding store: a folder of Arrow shards that `datasets.load_from_disk` opens, with a manifest.

Columns: `id` (string), `embedding` (fixed-size list of float16 or float32) and, for texts, `text` and
`conversations` (null where none was given). Reading maps the files into memory: opening costs milliseconds,
and all processes of a machine share the pages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from .._common.files import read_json
from ..encoders.identity import Identity
from ..errors import RevisionError

MANIFEST = "manifest.json"
FAILURES = "failures.jsonl"
FORMAT_VERSION = 1
DTYPES = {"float16": np.float16, "float32": np.float32}
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

    def problems(self) -> list[str]:
        """Everything that is wrong with these values, all at once."""
        messages = []
        if self.kind != "store":
            messages.append(f"kind is '{self.kind}', not 'store'")
        if self.format_version != FORMAT_VERSION:
            messages.append(f"format version {self.format_version}, this release reads {FORMAT_VERSION}")
        if self.modality not in ("text", "image"):
            messages.append(f"modality '{self.modality}' is neither 'text' nor 'image'")
        if self.dtype not in DTYPES:
            messages.append(f"dtype '{self.dtype}' is not one of {', '.join(DTYPES)}")
        if self.dim < 1 or self.count < 1:
            messages.append(f"dim {self.dim} and count {self.count} must be positive")
        return messages

    def to_json(self) -> dict:
        return {**asdict(self), "encoder": self.encoder.to_json()}

    @classmethod
    def from_json(cls, value: object, where: Path) -> Manifest:
        """Read what `to_json` gave. Raises RevisionError with everything that is wrong with it."""
        if not isinstance(value, dict):
            raise RevisionError(f"{where}: not the manifest of a store")
        encoder = Identity.from_json(value.get("encoder"), str(where))
        try:
            manifest = cls(**{**value, "encoder": encoder})
            problems = manifest.problems()
        except TypeError as error:
            problems = [str(error).replace("Manifest.__init__() ", "")]
        if problems:
            raise RevisionError(f"{where}: {'; '.join(problems)}")
        return manifest


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
        manifest = Manifest.from_json(read_json(path / MANIFEST), path / MANIFEST)
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

    def verify(self) -> None:
        """Raise RevisionError unless the rows still have the manifest's content hash."""
        actual_hash = content_hash(self._tables, self.manifest.modality, self.dim, self.manifest.dtype)
        if actual_hash != self.manifest.content_hash:
            raise RevisionError(
                f"{self.path}: the content does not match its hash; a shard was damaged or edited: encode it again"
            )


def map_shard(path: Path, modality: str, dim: int, dtype: str) -> pa.Table:
    """One shard, mapped into memory. Raises RevisionError where it is missing, damaged or has other columns."""
    try:
        table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    except FileNotFoundError:
        raise RevisionError(f"{path}: shard is missing; encode the store again") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise RevisionError(
            f"{path}: shard is damaged ({str(error).splitlines()[0]}); encode the store again"
        ) from None
    expected = arrow_schema(modality, dim, dtype)
    if not table.schema.remove_metadata().equals(expected):
        raise RevisionError(f"{path}: its columns are not those the manifest promises; encode the store again")
    return table


def _matrices(table, dim: int) -> Iterator[np.ndarray]:
    for chunk in table.column("embedding").chunks:
        yield chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, dim)


def content_hash(tables: list[pa.Table], modality: str, dim: int, dtype: str) -> str:
    """A hash of all rows in order that does not depend on how they are cut into shards."""
    columns = {"embedding": hashlib.blake2b()}
    for table in tables:
        for name in table.column_names:
            hasher = columns.setdefault(name, hashlib.blake2b())
            if name == "embedding":
                for matrix in _matrices(table, dim):
                    hasher.update(np.ascontiguousarray(matrix).data)
                continue
            for batch in table.select([name]).to_batches(max_chunksize=4096):
                for value in batch.column(0).to_pylist():
                    hasher.update(json.dumps(value).encode() + b"\n")
    store_hasher = hashlib.blake2b(f"{modality} {dim} {dtype}".encode(), digest_size=32)
    for name in sorted(columns):
        store_hasher.update(name.encode() + columns[name].digest())
    return store_hasher.hexdigest()
