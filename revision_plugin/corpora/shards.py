"""Rows of one shard: parquet, Arrow, and JSONL, plain or compressed; in batches, so that no shard is ever in memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from .._common.files import parse_json
from ..errors import RevisionError, first_line
from .locations import Shard
from .texts import listed_records, numbered_lines, unreadable_parquet

PARQUET, ARROW, JSONL, TAR, JSON, TXT = "parquet", "arrow", "jsonl", "tar", "json", "txt"
KINDS = {
    ".parquet": PARQUET,
    ".arrow": ARROW,
    ".jsonl": JSONL,
    ".jsonl.gz": JSONL,
    ".jsonl.zst": JSONL,
    ".tar": TAR,
    ".tar.gz": TAR,
    ".tgz": TAR,
    ".json": JSON,
    ".txt": TXT,
}
TABLES = (PARQUET, ARROW)
MOST_LINE = 2**28  # bytes: no line that people write has as many, and a few fit into memory
MOST_JSON = 2**32  # bytes of a JSON elsewhere, which is in memory whole
BUFFER = 2**20
ARROW_FILE = b"ARROW1"
ARROW_END = b"\xff\xff\xff\xff\0\0\0\0"


def kind_of(name: str) -> str | None:
    """The kind of shard that a file's name says; None for another file."""
    return next((kind for suffix, kind in KINDS.items() if name.lower().endswith(suffix)), None)


@contextlib.contextmanager
def decompressed(shard: Shard) -> Iterator[IO[bytes]]:
    """The content of a shard, of a `.gz` or `.zst` what it unpacks to. Raises RevisionError where it is cut."""
    with shard.opened() as handle:
        try:
            if shard.path.lower().endswith((".gz", ".tgz")):
                yield gzip.GzipFile(fileobj=handle)  # type: ignore[misc]
            elif shard.path.lower().endswith(".zst"):
                yield io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(handle, mode="r"), "zstd"))  # type: ignore
            else:
                yield handle
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise RevisionError(f"{shard.name}: is cut or damaged ({first_line(error)[:100]}); get it again") from None
        except (pa.ArrowException, OSError) as error:
            if not _of_arrow(error):
                raise
            raise RevisionError(f"{shard.name}: is cut or damaged ({first_line(error)[:100]}); get it again") from None


def _of_arrow(error: Exception) -> bool:
    """Whether Arrow found data damaged; what its files raise themselves (a network that fails) is something else."""
    return isinstance(error, pa.ArrowException) or type(error) is OSError and error.errno is None


def column_types(shard: Shard, kind: str) -> dict[str, pa.DataType]:
    """The columns of a table and their types. Raises RevisionError for a file that is none, or cut."""
    with shard.opened() as handle, _damage(shard, kind):
        schema = pq.read_schema(handle) if kind == PARQUET else _batches_of_arrow(handle)[0]
        names = schema.names  # which may not be UTF-8
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RevisionError(f"{shard.name}: has two columns '{twice[0]}'; leave one")
    return dict(zip(names, schema.types))


def parquet_rows(shard: Shard) -> int:
    """How many rows a parquet file says it has. Raises RevisionError for a file that is none, or cut."""
    with shard.opened() as handle, _damage(shard, PARQUET):
        return pq.read_metadata(handle).num_rows


def table_rows(shard: Shard, kind: str, columns: list[str], rows: int) -> Iterator[dict[str, Any]]:
    """Those columns row by row, at most `rows` of them in memory; where the file's own batches are larger, one batch.

    Raises RevisionError for a damaged file, and for one without these columns.
    """
    with shard.opened() as handle, _damage(shard, kind):
        if kind == PARQUET:
            with pq.ParquetFile(handle, buffer_size=BUFFER, pre_buffer=False) as file:
                columns = _columns_of(shard, columns, file.schema_arrow.names)
                batches = file.iter_batches(batch_size=rows, columns=columns, use_threads=False)
                yield from (row for batch in batches for row in _rows(batch, columns, rows))
        else:
            schema, batches = _batches_of_arrow(handle)
            columns = _columns_of(shard, columns, schema.names)
            for batch in batches:
                yield from _rows(batch.select(columns), columns, rows)


def _columns_of(shard: Shard, columns: list[str], names: list[str]) -> list[str]:
    """The table's columns that hold these, of which some are fields within one (`json.caption`)."""
    held = list(dict.fromkeys(name if name in names else name.partition(".")[0] for name in columns))
    missing = sorted(set(held) - set(names))
    if missing:
        raise RevisionError(
            f"{shard.name}: has no column '{missing[0]}', as the first shard has (it has {', '.join(names)}); give it "
            "in a corpus of its own"
        )
    return held


def _rows(batch: pa.RecordBatch, columns: list[str], rows: int) -> Iterator[dict[str, Any]]:
    batch.validate(full=True)  # a text that is not UTF-8, or lies outside its buffer, would fail only where it is read
    for start in range(0, batch.num_rows, rows):
        values = [batch.column(name).slice(start, rows).to_pylist() for name in columns]
        yield from (dict(zip(columns, row)) for row in zip(*values))


@contextlib.contextmanager
def _damage(shard: Shard, kind: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError, LookupError, TypeError) as error:
        if isinstance(error, OSError) and not _of_arrow(error):
            raise
        if kind == PARQUET:
            raise unreadable_parquet(shard.name, error) from None
        raise RevisionError(f"{shard.name}: not a whole, readable Arrow file: {first_line(error)[:160]}") from None


def _batches_of_arrow(handle: IO[bytes]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema and batches of Arrow's two forms, the stream that datasets writes and the file. Raises ValueError for
    a cut one: a stream that ends between two batches is as good as any, but for its end mark.
    """
    if handle.read(len(ARROW_FILE)) == ARROW_FILE:
        file = pa.ipc.open_file(handle)
        return file.schema, map(file.get_batch, range(file.num_record_batches))
    size = handle.seek(0, io.SEEK_END)
    handle.seek(max(size - len(ARROW_END), 0))
    if handle.read() != ARROW_END:
        raise ValueError("its end is missing")
    handle.seek(0)
    stream = pa.ipc.open_stream(handle)
    return stream.schema, iter(stream)


def json_records(shard: Shard, kind: str, part: str) -> Iterator[object]:
    """The records of JSONL, of a JSON list (or of `part` in an object of lists), or the lines of a text file."""
    with decompressed(shard) as handle:
        if kind == JSON:
            try:
                records = parse_json(handle.read(MOST_JSON).decode("utf-8"), shard.name)
            except UnicodeDecodeError as error:
                raise RevisionError(f"{shard.name}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
            yield from listed_records(records, part, shard.name)
            return
        for number, line in numbered_lines(handle, shard.name, MOST_LINE):
            yield line if kind == TXT else parse_json(line, f"{shard.name}: line {number}")
