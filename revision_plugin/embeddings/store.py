"""The embedding store: a folder of Arrow shards that `datasets.load_from_disk` opens, with a manifest.

Columns: `id` (string), `embedding` (fixed-size list of float16 or float32) and, for texts, `text` and
`conversations` (null where none was given). A store of views has a row a view, one after another for each item, and
their numbers in `view`: 0 for the whole, then its parts. Opening reads the manifest; a shard is mapped into memory when
something reads it, and all processes of a machine share the pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from .._common.files import read_object
from .._common.shared_folders import SharedKind, is_shared, local_folder
from ..encoders.identity import Identity
from ..errors import RevisionError, first_line
from .addresses import store_name
from .content_hashes import column_hashes, matrices
from .manifest import DTYPES, MANIFEST, SHARD_HASHES, UNIT_NORM_TOLERANCE, Manifest, shard_hashes
from .mapped_shards import MappedShards, map_shard, require_sizes
from .remote_stores import RemoteShards, described, holds_store

FAILURES = "failures.jsonl"
SHARED = SharedKind("embedding store", "dataset", (MANIFEST, SHARD_HASHES, "*.arrow"))


def is_store(path: str | Path) -> bool:
    """Whether `path` is (or claims to be) an embedding store rather than a host's own data file."""
    name = store_name(path)
    if isinstance(name, str):
        return holds_store(name)
    return is_shared(name) or name.is_dir() and (name / MANIFEST).is_file()


def store_folder(path: str | Path) -> Path:
    """The folder with a store's manifest: `path`, or where `hf:OWNER/NAME@COMMIT` lies when it is downloaded, or the
    one in the cache for a store on another file system.
    """
    name = store_name(path)
    return described(name)[1] if isinstance(name, str) else local_folder(name, SHARED)


class Store:
    """An open, read-only embedding store. Make one with `Store.open`. `path` is its folder, or its address on another
    file system.
    """

    view: str | None = None  # which kind it shows, where it has several views an item and one of them was chosen

    def __init__(self, path: Path | str, manifest: Manifest, shards: MappedShards):
        self.path = path
        self.manifest = manifest
        self.shards = shards

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a finished store: a folder, `hf:OWNER/NAME@COMMIT` of a dataset repository in the hub, or an address
        that fsspec reaches, as `s3://bucket/store`, whose shards go through a cache on disk.

        Raises RevisionError for anything missing, unfinished, cut or inconsistent, or that cannot be had from the hub.
        What is inside a shard is looked at when the shard is first read, and raises RevisionError then.
        """
        name = store_name(path)
        if isinstance(name, str):
            name, folder, manifest = described(name)
            return cls(name, manifest, RemoteShards(name, folder, manifest))
        path = store_folder(name)
        if not path.is_dir():
            raise RevisionError(f"{path}: no such embedding store; make one with 'revision encode'")
        if not (path / MANIFEST).is_file():
            raise RevisionError(
                f"{path}: no {MANIFEST}, so not a finished embedding store; make one with 'revision encode'"
            )
        manifest = Manifest.from_json(read_object(path / MANIFEST), path / MANIFEST)
        rows = manifest.shard_rows
        if rows is None or manifest.shard_bytes is None:  # of old: it says no sizes, so every shard is looked into
            rows = [map_shard(path / name, manifest.schema).num_rows for name in manifest.shards]
            if sum(rows) != manifest.count:
                raise RevisionError(
                    f"{path}: the manifest says {manifest.count} rows, the shards hold {sum(rows)}; encode it again"
                )
        else:
            require_sizes(path, manifest.shards, manifest.shard_bytes)
        return cls(path, manifest, MappedShards(path, manifest.shards, rows, manifest.schema))

    def __reduce__(self):
        return Store.open, (self.path if isinstance(self.path, str) else self.path.absolute(),)

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
        while start < stop:
            shard, offset = self.shards.place(start)
            end = min(stop - start + offset, int(self.shards.starts[shard + 1] - self.shards.starts[shard]))
            position = 0
            for matrix in matrices(self.shards.table(shard), self.dim):
                low, high = max(offset - position, 0), min(end - position, len(matrix))
                for first in range(low, high, rows):
                    yield matrix[first : min(first + rows, high)]
                position += len(matrix)
            start += end - offset

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Embeddings [len(rows), dim] of the store's dtype at these positions, in their order; a copy."""
        rows = np.asarray(rows, np.int64)
        embeddings = np.empty((len(rows), self.dim), DTYPES[self.manifest.dtype])
        order = np.argsort(rows, kind="stable")
        shards = np.searchsorted(self.shards.starts, rows[order], side="right") - 1
        for shard in np.unique(shards).tolist():
            mine = order[slice(*_bounds(shards, shard))]
            inside, position = rows[mine] - self.shards.starts[shard], 0
            for matrix in matrices(self.shards.table(shard), self.dim):
                first, last = np.searchsorted(inside, (position, position + len(matrix)))
                embeddings[mine[first:last]] = matrix[inside[first:last] - position]
                position += len(matrix)
        return embeddings

    def _selected(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """These columns of each shard, in order."""
        return (table.select(list(names)) for table in self.shards.tables())

    def tables(self, names: Sequence[str], rows: int, start: int = 0, stop: int | None = None) -> Iterator[pa.Table]:
        """These columns of rows `start` to `stop` in order, in tables of `rows` rows but for the last; memory holds few
        of them.
        """
        waiting: list[pa.Table] = []
        stop, position = len(self) if stop is None else stop, 0
        for whole in self._selected(names):
            low, high = max(start - position, 0), min(stop - position, len(whole))
            position += len(whole)
            if low >= high:
                continue
            table = whole.slice(low, high - low)
            while sum(map(len, waiting)) + len(table) >= rows:
                missing = rows - sum(map(len, waiting))
                yield pa.concat_tables([*waiting, table.slice(0, missing)])
                waiting, table = [], table.slice(missing)
            if len(table):
                waiting.append(table)
        if waiting:
            yield pa.concat_tables(waiting)

    def column(self, name: str) -> pa.ChunkedArray:
        """A whole column as a `pyarrow.ChunkedArray`, with all shards mapped at once: for stores of a few of them."""
        chunks = [chunk for table in self._selected([name]) for chunk in table.column(name).chunks]
        return pa.chunked_array(chunks, self.manifest.schema.field(name).type)

    def ids(self) -> list[str]:
        """All ids in memory; see `column`."""
        return self.column("id").to_pylist()

    def row(self, index: int) -> dict:
        """One row: `id`, `embedding` (float32 copy [dim]) and, for texts, `text` and `conversations`."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a store with {len(self)} rows")
        shard, offset = self.shards.place(index)
        table = self.shards.table(shard)
        row = {name: table.column(name)[offset].as_py() for name in table.column_names if name != "embedding"}
        scalar = table.column("embedding")[offset]
        row["embedding"] = np.asarray(scalar.values.to_numpy(), np.float32).copy()
        return row

    def span(self, start: int, stop: int) -> np.ndarray:
        """Embeddings `start` to `stop` of one item, as a float32 copy [stop - start, dim]."""
        shard, offset = self.shards.place(start)
        column = self.shards.table(shard).column("embedding").slice(offset, stop - start)
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

    def verify(self, part: int = 0, parts: int = 1) -> None:
        """Raise RevisionError unless the rows still have the manifest's content hash; reads all of them.

        Of several processes each can verify one of `parts` parts: so many of the shards. A store whose shards have no
        hashes of their own is verified by part 0.
        """
        self._verify(None, part, parts)

    def verify_embeddings(self) -> None:
        """`verify` of the embeddings alone, for who reads nothing else. An old store is verified whole."""
        self._verify(["embedding"])

    def _verify(self, names: list[str] | None, part: int = 0, parts: int = 1) -> None:
        manifest = self.manifest
        if manifest.shard_rows is not None:
            known = shard_hashes(manifest, self.shards.folder / SHARD_HASHES)
            for shard in range(part, len(self.shards), parts):
                table = self.shards.table(shard)
                if shard in self.shards.checked:
                    continue
                tables = _validated([table], self.shards, shard, full=names is None)
                for name, value in column_hashes(tables, self.dim, names or manifest.schema.names).items():
                    if value != known[shard][name]:
                        raise self.shards.changed(shard)
        elif part == 0:
            if manifest.columns is None:
                names = None
            tables = _validated(self.shards.tables(), self.shards, 0, full=names is None)
            now = column_hashes(tables, self.dim, names or manifest.schema.names)
            if manifest.joined({**(manifest.columns or {}), **now}) != manifest.content_hash:
                raise self.shards.changed(0)


def _bounds(numbers: np.ndarray, number: int) -> np.ndarray:
    """Where `number` begins and ends among sorted numbers."""
    return np.searchsorted(numbers, (number, number + 1))


def _validated(tables: Iterable[pa.Table], shards: MappedShards, first: int, *, full: bool) -> Iterator[pa.Table]:
    """The tables of shards from `first` on, each checked by Arrow down to its texts where `full`. Raises RevisionError
    for a damaged one.
    """
    for shard, table in enumerate(tables, first):
        try:
            if full:
                table.validate(full=True)
        except pa.ArrowException as error:
            raise shards.changed(shard, first_line(error)) from None
        yield table
