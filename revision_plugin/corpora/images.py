"""Reads images from a folder or a LLaVA JSON; what an image of any corpus is.

Readers yield items in order and never drop one: an item that cannot be used is yielded with its `problem`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from .._common.files import open_regular, require_regular
from ..errors import RevisionError, shown
from .pixels import decode_image, looks_like_image, open_image
from .texts import encodable, identify, read_records

IMAGE_SUFFIXES = (
    ".png .apng .jpg .jpeg .jpe .jfif .webp .avif .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .heic .heif .jp2 .jxl"
).split()
HEAD_BYTES = 32


@dataclass(frozen=True)
class ImageItem:
    """One image with its id: a file at `path`, or the bytes of one in `data`, from `where`; `problem` says why it is
    unusable.
    """

    id: str
    path: Path | None
    problem: str | None = None
    data: bytes | None = field(default=None, repr=False)
    where: str = ""

    def __str__(self) -> str:
        return self.where or str(self.path)

    def open(self) -> Image.Image:
        """The picture as RGB `PIL.Image`. Raises RevisionError, naming where it is, where it does not decode."""
        if self.data is not None:
            return decode_image(io.BytesIO(self.data), str(self))
        if self.path is None:
            raise RevisionError(f"{self}: {self.problem or 'holds no image'}")
        return open_image(self.path)


def read_images(path: Path, image_folder: Path | None = None, others: Counter | None = None) -> Iterator[ImageItem]:
    """All images of a folder (recursive, sorted; the id is the relative path) or of a LLaVA JSON/JSONL.

    In a folder a file counts by its suffix or by its content; what is no image is counted in `others` by suffix. A link
    to a folder, and a folder that may not be read, are unusable items. For a JSON each record's `image` is taken
    relative to `image_folder`. A record that is only a path, as in the ReVision authors' `{"images": [...]}`, is its
    own id. No file outside the folder is used, whatever links lead to it.
    """
    if path.is_dir():
        yield from _folder_items(path, others if others is not None else Counter())
        return
    require_regular(path)
    if path.suffix.lower() not in (".json", ".jsonl"):
        raise RevisionError(f"{path}: give a folder of images or a .json/.jsonl whose records have 'image'")
    if image_folder is None:
        raise RevisionError(f"{path}: image paths in it need --image-folder")
    if not image_folder.is_dir():
        raise RevisionError(f"--image-folder {image_folder}: no such folder")
    root = image_folder.resolve()
    for index, record in enumerate(read_records(path, "images")):
        identity, name, problem = image_record(record, str(index))
        yield path_item(identity, root, name, problem)


def image_record(record: object, fallback_id: str) -> tuple[str, object, str | None]:
    """A JSON record's id, what it says is its image, and why it has no id."""
    if isinstance(record, str):
        record = {"id": record, "image": record}
    identity, problem = identify(record, fallback_id) if isinstance(record, dict) else (fallback_id, None)
    return identity, record.get("image") if isinstance(record, dict) else None, problem


def path_item(identity: str, root: Path | None, name: object, problem: str | None, where: str = "") -> ImageItem:
    """The item of an image at the path `name` in the folder `root`, which is resolved."""
    if not isinstance(name, str) or not name:
        problem = problem or "has no 'image'"
    if problem or root is None:
        return ImageItem(identity, root, problem or "has a path, and no folder", where=where)
    return ImageItem(identity, root / str(name), outside_problem(root, str(name)))


def identify_images(path: Path, image_folder: Path | None, others: Counter[str]) -> str:
    """A hash of every image file's id, size and time of change; what is no image is counted in `others`.

    Hashing contents would read the whole corpus twice; a picture that is written again has another time.
    """
    digest = hashlib.sha256()
    for item in read_images(path, image_folder, others):
        stat = item.path.stat() if item.problem is None and item.path is not None and item.path.is_file() else None
        state = (item.id, stat.st_size, stat.st_mtime_ns) if stat else (item.id, item.problem)
        digest.update(json.dumps(state).encode() + b"\n")
    return digest.hexdigest()


def holds_images(folder: Path, shard_suffixes: tuple[str, ...]) -> bool:
    """Whether a folder is one of images: it holds one, or no shard either. Only shards are not looked into."""
    shards = False
    unclear: list[Path] = []
    for place, _, files in os.walk(folder):
        for name in files:
            if Path(name).suffix.lower() in IMAGE_SUFFIXES:
                return True
            if name.lower().endswith(shard_suffixes):
                shards = True
            else:
                unclear.append(Path(place, name))
    return not shards or any(_is_image(file) for file in unclear)


def outside_problem(root: Path, name: str) -> str | None:
    """Why the file `name` of the image folder `root`, a resolved path, may not be used: one rule for folders, JSON
    files and both stages.

    The path, links followed, must lead to a place inside the folder.
    """
    try:
        inside = (root / name).resolve().is_relative_to(root)
    except (OSError, ValueError, RuntimeError) as error:  # too long, holds NUL, links that go round
        return f"'{shown(name[:200])}' is no path that an image can have ({type(error).__name__})"
    return None if inside else f"'{name}' lies outside the image folder {root}"


def _folder_items(root: Path, others: Counter) -> Iterator[ImageItem]:
    problems: dict[Path, str] = {}
    paths: list[Path] = []
    resolved = root.resolve()

    def unreadable(error: OSError) -> None:
        problems[Path(error.filename)] = f"the folder cannot be read: {error.strerror}"

    for name, subfolders, files in os.walk(root, onerror=unreadable):
        folder = Path(name)
        for link in filter(Path.is_symlink, (folder / each for each in subfolders)):
            problems[link] = "is a link to a folder, which is not followed; give that folder itself, or copy it here"
        paths += [folder / each for each in files]
    for file in sorted([*paths, *problems]):
        if file in problems:
            yield _named(root, file, problems[file])
        elif file.suffix.lower() in IMAGE_SUFFIXES or _is_image(file):
            # only a link can lead out of a folder whose own links were not followed
            problem = outside_problem(resolved, str(file.relative_to(root))) if file.is_symlink() else None
            yield _named(root, file, problem)
        else:
            others[file.suffix.lower() or "no suffix"] += 1


def _named(root: Path, file: Path, problem: str | None) -> ImageItem:
    name = file.relative_to(root).as_posix()
    if not encodable(name):  # bytes of another encoding: no store can hold it
        return ImageItem(shown(name), file, problem="its name is not UTF-8; rename it")
    return ImageItem(name, file, problem)


def _is_image(file: Path) -> bool:
    try:
        with open_regular(file) as handle:
            return looks_like_image(handle.read(HEAD_BYTES))
    except (RevisionError, OSError):
        return False  # no image that could be used: counted with the other files
