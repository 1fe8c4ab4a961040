"""Reads texts from LLaVA JSON, JSONL, TXT or parquet.

Readers yield items in the file's order and never drop one: an item that cannot be used is yielded with
its `problem`, and the caller decides whether its failure budget covers it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from .._common.files import open_regular, parse_json, read_json, require_regular
from ..errors import RevisionError, first_line

TEXT_SUFFIXES = (".json", ".jsonl", ".txt", ".parquet")
TABLE_TEXTS = ("text", "caption", "conversations")  # columns of which one at least is needed
COUNTED_JSON = 2**26  # bytes that are parsed twice for a count: a second


IMAGE_MARK = "<image>"  # LLaVA puts the visual tokens in its place


@dataclass(frozen=True)
class TextItem:
    """One text with its id, and the conversation it came with, if any; `problem` says why it is unusable."""

    id: str
    text: str
    conversations: list[dict[str, str]] | None = None
    problem: str | None = None


def caption_item(record: object, fallback_id: str) -> TextItem:
    """The item of one JSON record: its `text` or `caption`, or else the first reply of its conversation."""
    if isinstance(record, str):
        record = {"text": record}
    if not isinstance(record, dict):
        return TextItem(fallback_id, "", problem=f"a record must be an object or a string, not {type(record).__name__}")
    identity, problem = identify(record, fallback_id)
    if problem:
        return TextItem(identity, "", problem=problem)
    text = record["text"] if record.get("text") is not None else record.get("caption")
    turns = _turns(record.get("conversations") or ())
    if turns is None:
        return TextItem(identity, "", problem="'conversations' must be a list of objects with 'from' and 'value'")
    if text is None:
        text = next((turn["value"] for turn in turns if turn["from"] == "gpt"), None)
    if not isinstance(text, str) or not text.strip():
        return TextItem(
            identity, "", problem="has no caption: give 'text', 'caption' or a conversation with a 'gpt' reply"
        )
    problem = text_problem(text) or conversation_problem(turns)
    return TextItem(identity, "" if problem else text.strip(), turns or None, problem)


def _turns(listed: Any) -> list[dict[str, str]] | None:
    """The turns of a conversation, each of its speaker and text alone; None where they are something else."""
    turns = []
    try:
        for turn in listed:
            speaker, value = turn["from"], turn["value"]
            if not (isinstance(speaker, str) and isinstance(value, str)):
                return None
            turns.append(turn if len(turn) == 2 else {"from": speaker, "value": value})
    except (TypeError, KeyError):
        return None
    return turns


def identify(record: dict, fallback_id: str) -> tuple[str, str | None]:
    """A record's id, and why it is none: it is text or a whole number, or left out."""
    identity = record.get("id", fallback_id)
    whole = isinstance(identity, int) and not isinstance(identity, bool) and abs(identity) < 2**63
    if whole or isinstance(identity, str) and encodable(identity):
        return str(identity), None
    kind = {type(None): "null", str: "half of a character", int: "too long a number"}.get(type(identity), "")
    return f"row {fallback_id}", f"its id is {kind or 'a ' + type(identity).__name__}, not text or a whole number"


def encodable(text: str) -> bool:
    """Whether UTF-8 can hold it: half of a surrogate pair, as JSON may spell one, it cannot."""
    if text.isascii():  # which takes no time, and most texts are
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_problem(text: str) -> str | None:
    """Why a model cannot be given `text` as a caption or a question; None where it can."""
    if not encodable(text):
        return "holds half of a surrogate pair, which is no character"
    if "\0" in text:
        return "holds NUL, as text of another encoding does"
    if IMAGE_MARK in text:
        return f"holds {IMAGE_MARK}, which the model would take for another image"
    return None


def conversation_problem(turns: list[dict[str, str]]) -> str | None:
    """Why a conversation about at most one image cannot be learned; None where it can."""
    marks, in_a_reply = 0, False
    for turn in turns:
        if not (encodable(turn["from"]) and encodable(turn["value"])):
            return "holds half of a surrogate pair, which is no character"
        if IMAGE_MARK in turn["value"]:
            marks += turn["value"].count(IMAGE_MARK)
            in_a_reply |= turn["from"] == "gpt"
    if marks > 1 or in_a_reply:
        return f"its conversation holds {marks} {IMAGE_MARK}; one, in a question, is all that there may be"
    return None


def listed_records(value: object, part: str, where: str) -> list:
    """The records of a JSON list, or of the list `part` in an object of lists. Raises RevisionError for neither."""
    if isinstance(value, dict) and isinstance(value.get(part), list):
        value = value[part]
    if not isinstance(value, list):
        raise RevisionError(
            f"{where}: expected a JSON list of records, as LLaVA's data files are, or an object with a list '{part}'"
        )
    return value


def read_records(path: Path, part: str) -> Iterator[object]:
    """The records of a corpus file in order; of the ReVision authors' `{"images": [...], "texts": [...]}`, that `part`.

    Raises RevisionError for a file that cannot be read at all.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        yield from listed_records(read_json(path), part, str(path))
    elif suffix == ".jsonl":
        for number, line in _lines(path):
            yield parse_json(line, f"{path}: line {number}")
    elif suffix == ".txt":
        for _, line in _lines(path):
            yield line
    elif suffix == ".parquet":
        yield from _parquet_records(path)
    else:
        raise RevisionError(f"{path}: cannot read '{suffix or 'no suffix'}'; give one of {', '.join(TEXT_SUFFIXES)}")


def record_count(path: Path, part: str) -> int | None:
    """How many records `read_records` gives, where that costs little: of parquet, and of a JSON of moderate size. None
    elsewhere, and for a file that cannot be read.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return pq.read_metadata(path).num_rows
        if suffix == ".json" and path.stat().st_size <= COUNTED_JSON:
            return len(listed_records(read_json(path), part, str(path)))
    except (RevisionError, pa.ArrowException, OSError, ValueError):
        pass  # which reading it says in full
    return None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with open_regular(path) as handle:
        yield from numbered_lines(handle, str(path))


def numbered_lines(handle: IO[bytes], where: str, most: int = -1) -> Iterator[tuple[int, str]]:
    """Lines that end in a line feed, a carriage return or both; numbered from 1. A byte order mark is no text.

    Raises RevisionError, naming `where`, for lines that are not UTF-8 or have more than `most` bytes.
    """
    number = 0
    for part in iter(lambda: handle.readline(most), b""):
        if 0 <= most <= len(part):
            raise RevisionError(f"{where}: line {number + 1} has {most} bytes or more; is it text, with line ends?")
        for line in part.rstrip(b"\n").removesuffix(b"\r").split(b"\r"):
            number += 1
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                raise RevisionError(f"{where}: line {number} is not UTF-8; save it as UTF-8") from None
            yield number, text.removeprefix("\ufeff") if number == 1 else text


def _parquet_records(path: Path) -> Iterator[object]:
    names = set(parquet_columns(path))
    if not names & {*TABLE_TEXTS}:
        raise RevisionError(
            f"{path}: no column 'text', 'caption' or 'conversations'; it has {', '.join(sorted(names))}"
        )
    columns = sorted(names & {"id", *TABLE_TEXTS})
    for batch in parquet_batches(path, columns):
        values = {name: column_values(path, batch, name) for name in columns}
        yield from (dict(zip(values, row)) for row in zip(*values.values()))


def parquet_columns(path: Path) -> list[str]:
    """The names of a parquet file's columns. Raises RevisionError for a file that is none, is cut or is encrypted."""
    require_regular(path)
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable_parquet(path, error) from None
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RevisionError(f"{path}: has two columns '{twice[0]}'; leave one")
    return names


def column_values(path: Path, batch: pa.RecordBatch, name: str) -> list:
    """A column's values as Python's. Raises RevisionError for values that Python has none for."""
    try:
        return batch.column(name).to_pylist()
    except (pa.ArrowException, ValueError, OverflowError, LookupError, TypeError) as error:
        raise unreadable_parquet(path, error) from None


def parquet_batches(path: Path, columns: list[str], rows: int = 65536) -> Iterator[pa.RecordBatch]:
    """Those columns in batches. Raises RevisionError where the file's pages are damaged."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=rows, columns=columns):
                batch.validate(full=True)  # a text that is not UTF-8 would fail only where it is read
                yield batch
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable_parquet(path, error) from None


def unreadable_parquet(path: Path | str, error: Exception) -> RevisionError:
    return RevisionError(f"{path}: not a whole, readable parquet file: {first_line(error)}")


def read_texts(path: Path) -> Iterator[TextItem]:
    """All texts of a corpus file, in order. Raises RevisionError for a file that cannot be read at all."""
    if path.is_dir():
        raise RevisionError(f"{path}: is a folder; give one file of {', '.join(TEXT_SUFFIXES)}")
    require_regular(path)
    for index, record in enumerate(read_records(path, "texts")):
        yield caption_item(record, str(index))
