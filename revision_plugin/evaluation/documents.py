"""Reads fields and images of a benchmark's rows, with one clear line for what is missing."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import io
import logging
import os
import re
import zipfile
from pathlib import Path

from datasets import Image as ImageFeature
from huggingface_hub import hf_hub_download
from PIL import Image

from ..corpora.pixels import decode_image, open_image
from ..errors import RevisionError

logger = logging.getLogger(__name__)

DATA_ROOT = "REVISION_DATA_ROOT"  # set by `revision evaluate --data-root`: where mirrored datasets lie
REFERENCE = 64  # characters: no image in base64 is as short
IMAGE_MARK = re.compile(r"<image (\d+)>")


def field(doc: dict, name: str):
    """One field of a row. Raises RevisionError naming the fields there are."""
    if name not in doc:
        has = ", ".join(sorted(map(str, doc)))
        raise RevisionError(f"{name_of(doc)} lacks the field '{name}' (it has {has}); get the dataset again")
    return doc[name]


def require_fields(*names: str):
    """A `process_docs` that checks the fields of a split once and leaves images to be decoded when they are needed."""

    def prepare(split):
        missing = sorted(set(names) - set(split.column_names))
        if missing:
            raise RevisionError(
                f"the dataset lacks the field(s) {', '.join(missing)} (it has {', '.join(split.column_names)}); "
                "get it again"
            )
        return undecoded(split)

    return prepare


def undecoded(split):
    """The split with its images as bytes, so that one that does not decode can be named."""
    for name, feature in split.features.items():
        if isinstance(feature, ImageFeature):
            split = split.cast_column(name, ImageFeature(decode=False))
    return split


def decode(value, where: str):
    """An RGB PIL image of a stored image (bytes, base64, path or PIL). Raises RevisionError where there is none or it
    is damaged.
    """
    try:
        if isinstance(value, Image.Image):
            return decode_image(value, where)
        if isinstance(value, dict) and value.get("bytes"):
            return decode_image(io.BytesIO(value["bytes"]), where)
        if isinstance(value, dict) and value.get("path"):
            return open_image(Path(value["path"]))
        if isinstance(value, str) and value:
            return decode_image(io.BytesIO(base64.b64decode(value, validate=True)), where)
    except RevisionError as error:
        raise RevisionError(f"{error}; get the dataset again") from None
    except binascii.Error:
        raise RevisionError(f"{where}: its image is no base64; get the dataset again") from None
    raise RevisionError(f"{where}: the row has no image; get the dataset again")


def row_hash(value) -> str:
    """SHA-256 of a row as it is stored: its fields, the bytes of its images, or the pixels of decoded ones."""
    digest = hashlib.sha256()

    def add(each) -> None:
        if isinstance(each, (dict, list, tuple)):
            digest.update(f"{type(each).__name__}{len(each)}".encode())
            for part in sorted(each.items(), key=lambda item: str(item[0])) if isinstance(each, dict) else each:
                add(part)
        elif isinstance(each, bytes):
            digest.update(b"bytes" + hashlib.sha256(each).digest())
        elif isinstance(each, Image.Image):
            digest.update(f"{each.mode}{each.size}".encode() + hashlib.sha256(each.tobytes()).digest())
        else:
            digest.update(f"{type(each).__name__}:{each!r};".encode(errors="backslashreplace"))

    add(value)
    return digest.hexdigest()


def holds_image(row) -> bool:
    """Whether a row brings the bytes of its image itself."""
    values = row.values() if isinstance(row, dict) else ()
    return any(isinstance(value, dict) and value.get("bytes") for value in values)


def name_of(doc: dict) -> str:
    """What to call a row in a message."""
    if doc.get("set_id") is not None and doc.get("figure_id") is not None:  # HallusionBench numbers within categories
        numbers = (doc.get(key) for key in ("category", "subcategory", "set_id", "figure_id", "question_id"))
        return f"row {' '.join(map(str, numbers))}"
    for key in ("id", "index", "image_path", "question_id"):
        if doc.get(key) is not None:
            return f"row {key}={doc[key]}"
    return f"row with question {str(doc.get('question', doc.get('text', '')))[:60]!r}"


def image(doc: dict) -> list:
    """The row's one image, as a list of one RGB PIL image."""
    return [decode(field(doc, "image"), name_of(doc))]


def marked_images(question: str, options: str) -> list[int]:
    """The distinct numbers k of `<image k>` in a question and its options, in their order."""
    return list(dict.fromkeys(int(k) for k in IMAGE_MARK.findall(f"{question} {options}")))


def single_image(split):
    """A `process_docs` that keeps the rows which refer to exactly one image (ReVision, appendix H.3)."""
    split = require_fields("question", "options", "answer", "image_1")(split)
    rows = zip(split["question"], split["options"])
    kept = [number for number, (question, options) in enumerate(rows) if len(marked_images(question, options)) == 1]
    return keep_rows(split, kept, "those that do not refer to exactly one image")


def logicvista_rows(split):
    """A `process_docs` that leaves out rows with neither a question nor an answer: any reply without letters would be
    right. The dataset has one, v1_382.
    """
    split = require_fields("image", "question", "answer")(split)
    rows = zip(split["question"], split["answer"])
    kept = [number for number, row in enumerate(rows) if any(value and str(value).strip() for value in row)]
    return keep_rows(split, kept, "those with neither a question nor an answer")


def keep_rows(split, kept: list[int], which: str):
    """The rows `kept` of a split; the others are listed in the log."""
    left_out = sorted(set(range(len(split))) - set(kept))
    if not left_out:
        return split
    names = split["id"] if "id" in split.column_names else None
    listed = ", ".join(str(names[number]) if names else str(number) for number in left_out)
    logger.warning("%d of %d rows are left out, %s: %s", len(left_out), len(split), which, listed)
    return split.select(kept)


def shared_images(split):
    """A `process_docs` for VLMEvalKit's tables: images in base64, where a short one is the `index` of the row that has
    it. Raises RevisionError for an index that no row has.
    """
    split = require_fields("index", "image", "question", "answer")(split)
    images = {str(index): str(image) for index, image in zip(split["index"], split["image"])}

    def with_image(row: dict) -> dict:
        image = str(row["image"])
        if len(image) <= REFERENCE and image not in images:
            raise RevisionError(f"row index={row['index']}: its image is that of row {image}, which is not there")
        return {"image": images[image] if len(image) <= REFERENCE else image}

    return split.map(with_image)


@functools.cache
def _visulogic_archive(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def visulogic_image(doc: dict) -> list:
    """The row's image, read from the dataset's images.zip when it is first needed."""
    root = os.environ.get(DATA_ROOT)
    if root:
        path: str | Path = Path(root) / "VisuLogic" / "VisuLogic" / "images.zip"
        if not Path(path).is_file():
            raise RevisionError(f"{path}: no such file; mirror VisuLogic/VisuLogic with its images.zip")
    else:
        path = hf_hub_download("VisuLogic/VisuLogic", "images.zip", repo_type="dataset")
    inside = str(field(doc, "image_path")).strip().removeprefix("./")
    try:
        data = _visulogic_archive(str(path)).read(inside)
    except KeyError:
        raise RevisionError(f"{path}: holds no {inside}; get the archive again") from None
    except zipfile.BadZipFile as error:
        raise RevisionError(f"{path}: not a whole zip file ({error}); get it again") from None
    return [decode({"bytes": data}, f"{path}: {inside}")]
