"""The chunks of a store that is being filled: files of rows, each with a mark that says that it is done.

A chunk is named by its part of the corpus and its number there, so that processes that share nothing but the folder
can fill one store.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from .._common.files import read_object, whole_file, write_json
from ..errors import RevisionError
from .mapped_shards import map_shard

CHUNKS = "chunks"


class ChunkFiles:
    """The chunks in the folder `partial`, with rows of `schema`."""

    def __init__(self, partial: Path, schema: pa.Schema):
        self.folder, self._schema = partial / CHUNKS, schema
        self._counts: dict[int, int] = {}

    def paths(self, part: int, chunk: int) -> tuple[Path, Path]:
        """The files of the rows and of the mark."""
        name = f"{part:05d}-{chunk:06d}"
        return self.folder / f"{name}.arrow", self.folder / f"{name}.json"

    def write(self, part: int, chunk: int, table: pa.Table, mark: dict) -> None:
        """The rows, and then their mark. Raises OSError."""
        path, done = self.paths(part, chunk)
        self.folder.mkdir(exist_ok=True)
        with whole_file(path) as handle, pa.ipc.new_stream(handle, self._schema) as stream:
            stream.write_table(table)
        write_json(done, mark)

    def mark(self, part: int, chunk: int) -> dict | None:
        """What was noted when the chunk was done; None where it was not, or the note is torn."""
        return _object(self.paths(part, chunk)[1])

    def table(self, part: int, chunk: int, rows: int) -> pa.Table | None:
        """Its rows, mapped; None where they are not there, or are not as many.

        A power loss can leave a mark without its chunk, or a torn one: such a chunk is made again.
        """
        try:
            table = map_shard(self.paths(part, chunk)[0], self._schema)
        except RevisionError:
            return None
        return table if table.num_rows == rows else None

    def places(self) -> list[tuple[int, int]]:
        """Part and number of every chunk that has a mark."""
        names = (path.stem.split("-") for path in self.folder.glob("*-*.json"))
        return [(int(part), int(chunk)) for part, chunk in names if part.isdigit() and chunk.isdigit()]

    def count_path(self, part: int) -> Path:
        return self.folder / f"{part:05d}.json"

    def write_count(self, part: int, chunks: int) -> None:
        """Note that the part ends after so many chunks. Raises OSError."""
        self.folder.mkdir(exist_ok=True)
        write_json(self.count_path(part), {"chunks": chunks})

    def count(self, part: int) -> int | None:
        """How many chunks the part has, where that is noted."""
        if part not in self._counts:
            mark = _object(self.count_path(part))
            if mark is None:
                return None
            self._counts[part] = mark["chunks"]
        return self._counts[part]

    def remove(self, chunks: Sequence[tuple[int, int]]) -> None:
        """Free the disk of chunks whose rows are in a shard."""
        for part, chunk in chunks:
            for path in self.paths(part, chunk):
                path.unlink(missing_ok=True)


def _object(path: Path) -> dict | None:
    try:
        return read_object(path) if path.exists() else None
    except RevisionError:
        return None
