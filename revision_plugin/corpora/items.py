"""The items of one shard: its rows, records or samples as texts or images, none dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._common.files import parse_json
from ..errors import RevisionError, shown
from .archives import MOST_BYTES, Sample, samples
from .columns import (
    CONVERSATIONS,
    FLAGS,
    ID,
    IMAGE,
    IMAGE_MEMBERS,
    KEY,
    MOST_SHOWN,
    ROW,
    TEXT,
    TEXT_MEMBERS,
    content_member,
    dig,
)
from .images import ImageItem, image_record, path_item
from .locations import Shard
from .shards import TABLES, TAR, json_records, table_rows
from .texts import TextItem, caption_item, identify

JSON_MEMBER = "json"
TEXT_ROWS, IMAGE_ROWS = 1024, 16  # that are in memory at a time


@dataclass(frozen=True)
class Reading:
    """How shards of a kind are read: the content (TEXT or IMAGE), by a record's field the column that it is in, the
    folder of image paths, and whether the id of an item without one is the number of its row alone.
    """

    kind: str
    content: str
    fields: dict[str, str]
    image_folder: Path | None = None
    by_number: bool = False

    def fallback_id(self, shard: Shard, row: int) -> str:
        """The id of an item that none is given to."""
        return str(row) if self.by_number else f"{shard.part}:{row}"


def read_shard(shard: Shard, reading: Reading) -> Iterator[TextItem] | Iterator[ImageItem]:
    """The items of `shard` in order. Raises RevisionError where it is cut or damaged."""
    if reading.kind == TAR:
        return _tar_items(shard, reading)
    return _record_items(shard, reading)


def _record_items(shard: Shard, reading: Reading) -> Iterator:
    root = None if reading.image_folder is None else reading.image_folder.resolve()
    for row, record in enumerate(_records(shard, reading)):
        fallback = reading.fallback_id(shard, row)
        record, problem = _chosen(record, reading)
        if reading.content == TEXT:
            item = caption_item(record, fallback)
            yield TextItem(item.id, "", problem=problem) if problem else item
        elif problem or reading.kind not in TABLES:
            name, image, problem = image_record(record, fallback) if problem is None else (fallback, "", problem)
            yield path_item(name, root, image, problem, f"{shard.name}: row {row}")
        else:
            yield _image_item(record, fallback, root, f"{shard.name}: row {row}")


def _records(shard: Shard, reading: Reading) -> Iterator[object]:
    if reading.kind not in TABLES:
        return json_records(shard, reading.kind, "texts" if reading.content == TEXT else "images")
    columns = list(dict.fromkeys(reading.fields.values()))
    return table_rows(shard, reading.kind, columns, TEXT_ROWS if reading.content == TEXT else IMAGE_ROWS)


def _chosen(record: object, reading: Reading) -> tuple[object, str | None]:
    """A record of the fields that are meant; as it is where it is JSON of which nothing was said."""
    if not reading.fields or not isinstance(record, dict):
        return record, None
    chosen: dict[str, object] = {}
    if reading.kind not in TABLES:
        chosen = dict(record) if reading.content not in reading.fields else {ID: record[ID]} if ID in record else {}
    for field, name in reading.fields.items():
        if (field, name) == (ID, ROW):
            chosen.pop(ID, None)
            continue
        value, there = dig(record, name)
        if not there:
            return record, f"has no field '{shown(name)}' ({_fields(record)})"
        chosen[_field_of(field, name)] = value
    return chosen, None


def _field_of(field: str, name: str) -> str:
    """Where a record that is read as LLaVA's has what is said to be its text."""
    return CONVERSATIONS if field == TEXT and name.rpartition(".")[2] == CONVERSATIONS else field


def _fields(record: Mapping) -> str:
    return "it has " + (", ".join(shown(name) for name in list(record)[:MOST_SHOWN]) or "none")


def _image_item(record: Any, fallback: str, root: Path | None, where: str) -> ImageItem:
    """An image of a table: bytes, datasets' struct of bytes and path, or a path."""
    identity, problem = identify(record, fallback)
    value = record[IMAGE]
    if isinstance(value, dict):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if problem is None and isinstance(value, bytes):
        problem = bytes_problem(value)
        return ImageItem(identity, None, problem, None if problem else value, where)
    if problem is None and isinstance(value, str) and value and root is None:
        problem = f"holds no image, but the path '{shown(value[:200])}'; give --image-folder with the images"
    return path_item(identity, root, value, problem, where)


def bytes_problem(value: bytes) -> str | None:
    """Why these bytes are not opened as an image; None where they may be."""
    if not value:
        return "its image is empty"
    return f"its image has {len(value)} bytes; the limit is {MOST_BYTES}" if len(value) > MOST_BYTES else None


# tars


def first_sample_problem(shard: Shard, reading: Reading) -> str | None:
    """Why the text or the image of a tar's first sample cannot be told; None for a tar without samples."""
    first = next(samples(shard, lambda name: False), None)
    return (
        None if first is None else content_member(first.fields, reading.content, reading.fields.get(reading.content))[1]
    )


def _tar_items(shard: Shard, reading: Reading) -> Iterator:
    said, said_id = reading.fields.get(reading.content), reading.fields.get(ID, KEY)
    for row, sample in enumerate(samples(shard, _wanted(reading))):
        fallback = reading.fallback_id(shard, row)
        member, problem = content_member(sample.fields, reading.content, said)
        problem = problem or sample.problems.get(member or "")
        record: dict = {}
        if problem is None:
            record, problem = _json_of(sample)
        identity, id_problem = _sample_id(sample, record, said_id, fallback)
        problem = problem or id_problem
        where = f"{shard.name}: {shown(sample.key[:200])}.{member}"
        if reading.content == IMAGE:
            data = sample.data.get(member or "")
            problem = problem or bytes_problem(data or b"")
            yield ImageItem(identity, None, problem, None if problem else data, where)
        elif problem:
            yield TextItem(identity, "", problem=problem)
        else:
            yield _text_of(sample, str(member), record, said, identity)


def _wanted(reading: Reading):
    """Which members of a sample are read."""
    names = {name.partition(".")[0] if name.startswith("json.") else name.lower() for name in reading.fields.values()}
    if reading.content not in reading.fields:
        names |= {*(TEXT_MEMBERS if reading.content == TEXT else IMAGE_MEMBERS)}
    return names.__contains__


def _json_of(sample: Sample) -> tuple[dict, str | None]:
    """What the sample's `json` holds, where it was read; an object, or nothing."""
    problem = sample.problems.get(JSON_MEMBER)
    if problem or JSON_MEMBER not in sample.data:
        return {}, problem
    try:
        value = parse_json(sample.data[JSON_MEMBER].decode("utf-8"), "its member 'json'")
    except UnicodeDecodeError:
        return {}, "its member 'json' is not UTF-8"
    except RevisionError as error:
        return {}, str(error)
    return (value, None) if isinstance(value, dict) else ({}, "its member 'json' is no object")


def _sample_id(sample: Sample, record: dict, said: str, fallback: str) -> tuple[str, str | None]:
    if said == ROW:
        return fallback, None
    if said == KEY:
        return identify({ID: sample.key}, fallback)
    if said.startswith("json."):
        value, there = dig(record, said.removeprefix("json."))
    else:
        data, there = sample.data.get(said.lower()), said.lower() in sample.data
        value = None if data is None else data.decode("utf-8", "replace").strip()
    if not there:
        return (
            f"row {fallback}",
            f"has no '{shown(said)}' for {FLAGS[ID]} (it has {', '.join(sample.fields[:MOST_SHOWN])})",
        )
    return identify({ID: value}, fallback)


def _text_of(sample: Sample, member: str, record: dict, said: str | None, identity: str) -> TextItem:
    if member == JSON_MEMBER and said in (None, JSON_MEMBER):
        return caption_item({**record, ID: identity}, identity)
    if member == JSON_MEMBER:
        value, there = dig(record, str(said).removeprefix("json."))
        if not there:
            return TextItem(identity, "", problem=f"its member 'json' has no '{shown(said)}' ({_fields(record)})")
        return caption_item({_field_of(TEXT, str(said)): value, ID: identity}, identity)
    try:
        return caption_item({TEXT: sample.data[member].decode("utf-8"), ID: identity}, identity)
    except UnicodeDecodeError:
        return TextItem(identity, "", problem=f"its member '{member}' is not UTF-8")
