"""Reads images from a folder or a LLaVA JSON, and decodes them.

Readers yield items in order and never drop one: an item that cannot be used is yielded with its `problem`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from ..errors import RevisionError
from .texts import read_records, require_file

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}


@dataclass(frozen=True)
class ImageItem:
    """One image file with its id; `problem` says why it is unusable."""

    id: str
    path: Path
    problem: str | None = None


def read_images(path: Path, image_folder: Path | None = None) -> Iterator[ImageItem]:
    """All images of a folder (recursive, sorted; the id is the relative path) or of a LLaVA JSON/JSONL.

    For a JSON each record's `image` is taken relative to `image_folder`, which it may not leave. A record that is only
    a path, as in the ReVision authors' `{"images": [...]}`, is its own id.
    """
    require_file(path)
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in IMAGE_SUFFIXES and not file.is_dir():
                yield ImageItem(file.relative_to(path).as_posix(), file)
        return
    if path.suffix.lower() not in (".json", ".jsonl"):
        raise RevisionError(f"{path}: give a folder of images or a .json/.jsonl whose records have 'image'")
    if image_folder is None:
        raise RevisionError(f"{path}: image paths in it need --image-folder")
    root = image_folder.resolve()
    for index, record in enumerate(read_records(path, "images")):
        if isinstance(record, str):
            record = {"id": record, "image": record}
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
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def open_image(path: Path) -> Image.Image:
    """The image as RGB `PIL.Image`. Raises RevisionError where it does not decode."""
    try:
        with whole_images_only(), Image.open(path) as image:
            if image.mode.startswith("I;16"):  # converting clips at 255 instead of scaling
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
            return image.convert("RGB")
    except FileNotFoundError:
        raise RevisionError(f"{path}: no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RevisionError(f"{path}: does not decode as an image: {error}") from None
