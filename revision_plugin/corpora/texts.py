"""Reads corpora: texts from LLaVA JSON, JSONL, TXT or parquet; images from a folder or a LLaVA JSON.

Readers yield items in the file's order and never drop one: an item that cannot be used is yielded with
its `problem`, and the caller decides whether its failure budget covers it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .._common.files import read_json
from ..errors import RevisionError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}
TEXT_SUFFIXES = (".json", ".jsonl", ".txt", ".parquet")


@dataclass(frozen=True)
class TextItem:
    """One text with its id, and the conversation it came with, if any; `problem` says why it is unusable."""

    id: str
    text: str
    conversations: list[dict[str, str]] | None = None
    problem: str | None = None


@dataclass(frozen=True)
class ImageItem:
    """One image file with its id; `problem` says why it is unusable."""

    id: str
    path: Path
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


def _records(path: Path) -> Iterator[object]:
    suffix = path.suffix.lower()
    if suffix == ".json":
        records = read_json(path)
        if not isinstance(records, list):
            raise RevisionError(f"{path}: expected a JSON list of records, as LLaVA's data files are")
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
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise RevisionError(f"{path}: not a parquet file: {str(error).splitlines()[0]}") from None
    names = set(file.schema_arrow.names)
    if not names & {"text", "caption", "conversations"}:
        raise RevisionError(
            f"{path}: no column 'text', 'caption' or 'conversations'; it has {', '.join(sorted(names))}"
        )
    wanted = sorted(names & {"id", "text", "caption", "conversations"})
    for batch in file.iter_batches(columns=wanted):
        yield from batch.to_pylist()


def _require_file(path: Path) -> None:
    if not path.exists():
        raise RevisionError(f"{path}: no such file")


def read_texts(path: Path) -> Iterator[TextItem]:
    """All texts of a corpus file, in order. Raises RevisionError for a file that cannot be read at all."""
    _require_file(path)
    if path.is_dir():
        raise RevisionError(f"{path}: is a folder; give one file of {', '.join(TEXT_SUFFIXES)}")
    for index, record in enumerate(_records(path)):
        yield _caption_of(record, str(index))


def read_images(path: Path, image_folder: Path | None = None) -> Iterator[ImageItem]:
    """All images of a folder (recursive, sorted; the id is the relative path) or of a LLaVA JSON/JSONL.

    For a JSON each record's `image` is taken relative to `image_folder`, which it may not leave.
    """
    _require_file(path)
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in IMAGE_SUFFIXES:
                yield ImageItem(file.relative_to(path).as_posix(), file)
        return
    if path.suffix.lower() not in (".json", ".jsonl"):
        raise RevisionError(f"{path}: give a folder of images or a .json/.jsonl whose records have 'image'")
    if image_folder is None:
        raise RevisionError(f"{path}: image paths in it need --image-folder")
    root = image_folder.resolve()
    for index, record in enumerate(_records(path)):
        identity = str(record.get("id", index)) if isinstance(record, dict) else str(index)
        name = record.get("image") if isinstance(record, dict) else None
        if not isinstance(name, str):
            yield ImageItem(identity, root, problem="has no 'image'")
            continue
        file = (root / name).resolve()
        if not file.is_relative_to(root):
            yield ImageItem(identity, file, problem=f"'{name}' lies outside the image folder {image_folder}")
        else:
            yield ImageItem(identity, file)


@contextlib.contextmanager
def whole_images_only() -> Iterator[None]:
    """Decode no truncated image inside, whatever another library (lmms-eval does) has switched on for the process."""
    from PIL import ImageFile

    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def open_image(path: Path):
    """The image as RGB `PIL.Image`. Raises RevisionError where it does not decode."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with whole_images_only(), Image.open(path) as image:
            if image.mode.startswith("I;16"):  # converting clips at 255 instead of scaling
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
            return image.convert("RGB")
    except FileNotFoundError:
        raise RevisionError(f"{path}: no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RevisionError(f"{path}: does not decode as an image: {error}") from None
