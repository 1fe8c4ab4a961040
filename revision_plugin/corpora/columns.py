"""Which column of a table, field of a record or member of a tar is the text, the image and the id: said, or inferred
where one alone can be meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

from ..errors import RevisionError, shown
from .archives import PICKLES

TEXT, IMAGE, ID, CONVERSATIONS = "text", "image", "id", "conversations"  # the fields of a record
TEXT_NAMES = ("text", "caption", "txt")  # in any case of letters
IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes")
ID_NAMES = ("id", "__key__", "key")  # the first that is there
TEXT_MEMBERS = ("txt", "json")  # the first that a sample has
IMAGE_MEMBERS = ("jpg", "jpeg", "png", "webp")
KEY = "__key__"  # a tar's name of a sample
ROW = "__row__"  # the id of who says it is the part and the row
FLAGS = {TEXT: "--text-column", IMAGE: "--image-column", ID: "--id-column"}
MOST_SHOWN = 20


def table_fields(types: Mapping[str, pa.DataType], said: Mapping[str, str | None], where: str) -> dict[str, str]:
    """By the record's field (`text` or `image`, `id`, `conversations`) the column it is in.

    `said` names the content's field, TEXT or IMAGE, and ID, with what the user said of each. Raises RevisionError,
    which lists the columns, where several or none can be meant, or there is none of that name or of a fitting type.
    """
    content = TEXT if TEXT in said else IMAGE
    fields: dict[str, str] = {}
    given = said[content]
    if given is not None:
        fields[content] = _existing(types, given, content, where)
        _require_type(types, given, content, where)
    else:
        found = _text_columns(types) if content == TEXT else _image_columns(types)
        if len(found) > 1:
            raise RevisionError(
                f"{where}: {' and '.join(found)} can be the {content}; say which with {FLAGS[content]} "
                f"({_columns(types)})"
            )
        if found:
            fields[content] = found[0]
    if given == CONVERSATIONS and content == TEXT:
        fields = {CONVERSATIONS: CONVERSATIONS}
    elif given is None and content == TEXT and CONVERSATIONS in types:
        fields[CONVERSATIONS] = CONVERSATIONS
    if content not in fields and CONVERSATIONS not in fields:
        usual = "'text', 'caption' or 'conversations'" if content == TEXT else "'image', nor one of images"
        raise RevisionError(f"{where}: no column {usual}; say which it is with {FLAGS[content]} ({_columns(types)})")
    identity = said[ID] or next((name for name in ID_NAMES if name in types), ROW)
    if identity != ROW:
        fields[ID] = _existing(types, identity, ID, where)
    return fields


def _text_columns(types: Mapping[str, pa.DataType]) -> list[str]:
    return [name for name, kind in types.items() if name.lower() in TEXT_NAMES and _is_text(kind)]


def _image_columns(types: Mapping[str, pa.DataType]) -> list[str]:
    return [
        name
        for name, kind in types.items()
        if is_image_feature(kind) or name.lower() in IMAGE_NAMES and (_is_bytes(kind) or _is_text(kind))
    ]


def is_image_feature(kind: pa.DataType) -> bool:
    """Whether it is datasets' form of images: a struct of `bytes` and `path`."""
    return pa.types.is_struct(kind) and {kind.field(place).name for place in range(kind.num_fields)} == {
        "bytes",
        "path",
    }


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _existing(types: Mapping[str, pa.DataType], name: str, field: str, where: str) -> str:
    if name not in types and name.partition(".")[0] not in types:
        raise RevisionError(f"{where}: has no column '{shown(name)}' for {FLAGS[field]} ({_columns(types)})")
    return name


def _require_type(types: Mapping[str, pa.DataType], name: str, field: str, where: str) -> None:
    """Raise RevisionError for a column whose type is no text or image; of a field within a column the rows tell."""
    kind = types.get(name)
    if kind is None or (field == TEXT and name == CONVERSATIONS):
        return
    if _is_text(kind) or field == IMAGE and (_is_bytes(kind) or is_image_feature(kind)):
        return
    noun = "text" if field == TEXT else "an image"
    raise RevisionError(f"{where}: column '{name}' is of type {str(kind)[:80]}, not {noun} ({_columns(types)})")


def _columns(names: Iterable[str]) -> str:
    listed = [shown(name) for name in names]
    more = f" and {len(listed) - MOST_SHOWN} more" if len(listed) > MOST_SHOWN else ""
    return f"columns: {', '.join(listed[:MOST_SHOWN])}{more}" if listed else "it has none"


def record_fields(said: Mapping[str, str | None]) -> dict[str, str]:
    """As `table_fields` for records of JSON, each of which is asked for itself: what was said."""
    return {field: name for field, name in said.items() if name is not None}


def refuse_pickles(said: Mapping[str, str | None]) -> None:
    """Raise RevisionError for a member of a tar that only unpickling could read."""
    for field, name in said.items():
        if name is not None and name.rpartition(".")[2].lower() in PICKLES:
            raise RevisionError(f"{FLAGS[field]} {name}: is a pickle, which is never read; write the tar without it")


def content_member(members: list[str], content: str, said: str | None) -> tuple[str | None, str | None]:
    """The member of a sample that is the text or the image, and why there is none."""
    if said is not None:
        member = said.partition(".")[0] if said.startswith("json.") else said.lower()
        problem = None if member in members else f"has no member '{shown(member)}' for {FLAGS[content]}"
    elif content == TEXT:
        member = next((name for name in TEXT_MEMBERS if name in members), "")
        problem = None if member else f"has no member {' or '.join(TEXT_MEMBERS)}; say which with {FLAGS[content]}"
    else:
        found = [name for name in IMAGE_MEMBERS if name in members]
        member, problem = (found[0], None) if len(found) == 1 else ("", f"has no member {', '.join(IMAGE_MEMBERS)}")
        if len(found) > 1:
            problem = f"{' and '.join(found)} can be the image"
        problem = problem and f"{problem}; say which with {FLAGS[content]}"
    if problem:
        return None, f"{problem} ({_columns(members).replace('columns', 'members')})"
    return member, None


def dig(record: Mapping, name: str) -> tuple[object, bool]:
    """The value under a name, or under a path of names joined by dots, and whether there is one."""
    if name in record:
        return record[name], True
    first, dot, rest = name.partition(".")
    inner = record.get(first)
    return dig(inner, rest) if dot and isinstance(inner, Mapping) else (None, False)
