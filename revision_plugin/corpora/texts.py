"""Reads texts from LLaVA JSON, JSONL, TXT or parquet.

Readers yield items in the file's order and never drop one: an item that cannot be used is yielded with
its `problem`, and the caller decides whether its failure budget covers it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .._common.files import read_json
from ..errors import RevisionError

TEXT_SUFFIXES = (".json", ".jsonl", ".txt", ".parquet")


@dataclass(frozen=True)
class TextItem:
    """One text with its id, and the conversation it came with, if any; `problem` says why it is unusable."""

    id: str
    text: str
    conversations: list[dict[str, str]] | None = None
    problem: str | None = None


def _caption_of(record: object, fallback_id: str) -> TextItem:
    """The item of one JSON record: its `text` or `caption`, or else the first reply of its conversation."""
    if isinstance(record, str):
        record = {"text": record}
    if not isinstance(record, dict):
        return TextItem(fallback_id, "", problem=f"a record must be an object or a string, not {type(record).__name__}")
    identity = str(record.get("id", fallback_id))
    conversations = record.get("conversations")
    text = record.get("text") or record.get("caption")
    try:
        turns = [{"from": str(turn["from"]), "value": str(turn["value"])} for turn in conversations or []]
    except (TypeError, KeyError):
        return TextItem(identity, "", problem="'conversations' must be a list of objects with 'from' and 'value'")
    if text is None:
        text = next((turn["value"] for turn in turns if turn["from"] == "gpt"), None)
    if not isinstance(text, str) or not text.strip():
        return TextItem(
            identity, "", problem="has no caption: give 'text', 'caption' or a conversation with a 'gpt' reply"
        )
    return TextItem(identity, text.strip(), turns or None)


def read_records(path: Path, part: str) -> Iterator[object]:
    """The records of a corpus file in order; of the ReVision authors' `{"images": [...], "texts": [...]}`, that `part`.

    Raises RevisionError for a file that cannot be read at all.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        records = read_json(path)
        if isinstance(records, dict) and isinstance(records.get(part), list):
            records = records[part]
        if not isinstance(records, list):
            raise RevisionError(
                f"{path}: expected a JSON list of records, as LLaVA's data files are, or an object with a list '{part}'"
            )
        yield from records
    elif suffix == ".jsonl":
        for number, line in _lines(path):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise RevisionError(f"{path}: line {number} is not valid JSON: {error.msg}") from None
    elif suffix == ".txt":
        for _, line in _lines(path):
            yield line
    elif suffix == ".parquet":
        yield from _parquet_records(path)
    else:
        raise RevisionError(f"{path}: cannot read '{suffix or 'no suffix'}'; give one of {', '.join(TEXT_SUFFIXES)}")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with open(path, encoding="utf-8") as handle:
        number = 0
        try:
            for number, line in enumerate(handle, 1):
                yield number, line.rstrip("\n")
        except UnicodeDecodeError:
            raise RevisionError(f"{path}: not UTF-8 after line {number}; save it as UTF-8") from None


def _parquet_records(path: Path) -> Iterator[object]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise RevisionError(f"{path}: not a parquet file: {str(error).splitlines()[0]}") from None
    names = set(file.schema_arrow.names)
    if not names & {"text", "caption", "conversations"}:
        raise RevisionError(
            f"{path}: no column 'text', 'caption' or 'conversations'; it has {', '.join(sorted(names))}"
        )
    columns = sorted(names & {"id", "text", "caption", "conversations"})
    for batch in file.iter_batches(columns=columns):
        yield from batch.to_pylist()


def require_file(path: Path) -> None:
    """Raise RevisionError where there is nothing at `path`."""
    if not path.exists():
        raise RevisionError(f"{path}: no such file")


def read_texts(path: Path) -> Iterator[TextItem]:
    """All texts of a corpus file, in order. Raises RevisionError for a file that cannot be read at all."""
    require_file(path)
    if path.is_dir():
        raise RevisionError(f"{path}: is a folder; give one file of {', '.join(TEXT_SUFFIXES)}")
    for index, record in enumerate(read_records(path, "texts")):
        yield _caption_of(record, str(index))
