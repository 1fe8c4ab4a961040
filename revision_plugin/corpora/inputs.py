"""A corpus as it is given: one file, an image folder, or many shards wherever they lie, read part by part.

`open_texts` and `open_images` look at names and at the head of one shard; `read(part)` then needs that part alone, so
parts can be read by as many processes as there are.
"""

from __future__ import annotations

import logging
import posixpath
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .._common.distributed import launched_rank
from .._common.files import hash_file, hash_json, require_regular
from ..errors import RevisionError, shown
from .columns import ID, IMAGE, TEXT, record_fields, refuse_pickles, table_fields
from .images import ImageItem, holds_images, identify_images, read_images
from .items import Reading, first_sample_problem, read_shard
from .listing import MAGIC, list_shards
from .locations import LOCAL, Shard, protocol_of
from .shards import JSON, JSONL, KINDS, PARQUET, TABLES, TAR, TXT, column_types, kind_of, parquet_rows
from .texts import TABLE_TEXTS, TEXT_SUFFIXES, TextItem, parquet_columns, read_texts, record_count

logger = logging.getLogger(__name__)
Names = str | Path | Sequence[str | Path]
SMALL = 2**28  # bytes of a shard whose content is hashed
COUNTED_SHARDS = 1000  # of which the ends are read for a count: a few milliseconds each on a disk
FORMS = ".parquet, .jsonl[.gz|.zst], .tar[.gz] or .arrow"
FOUND: dict[str, tuple[str, ...]] = {  # in folders
    TEXT: tuple(suffix for suffix, kind in KINDS.items() if kind not in (JSON, TXT)),
    IMAGE: tuple(suffix for suffix, kind in KINDS.items() if kind in (*TABLES, TAR)),
}


class Corpus(ABC):
    """Texts or images in parts, each of which is read without the others. Can be pickled.

    `parts` are the names of the parts in a stable, sorted order; `where` is what messages call the corpus.
    """

    where: str
    parts: tuple[str, ...]

    @abstractmethod
    def read(self, part: str) -> Iterator[TextItem] | Iterator[ImageItem]:
        """The items of one part in its order, none dropped: one that cannot be used says why in its `problem`.

        Raises RevisionError for a part that cannot be read whole.
        """

    def count(self) -> int | None:
        """How many items it has, where that is known without reading them all; None elsewhere. Parts that cannot be
        read are no matter here: `read` says what is wrong.
        """
        return None

    @abstractmethod
    def identity(self) -> dict:
        """What a run that goes on with another's must find again, as JSON: the corpus's name, and a hash of its
        content, or of its parts' names, sizes and versions.
        """


@dataclass(frozen=True)
class FileOfTexts(Corpus):
    """One file on disk: LLaVA JSON, JSONL, TXT or parquet; ids are those given, or the number of the row."""

    path: Path
    where: str

    @property
    def parts(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.path.name,)

    def read(self, part: str) -> Iterator[TextItem]:
        return read_texts(self.path)

    def count(self) -> int | None:
        return record_count(self.path, "texts")

    def identity(self) -> dict:
        return {"corpus": self.path.name, "corpus_hash": hash_file(self.path)}

    def __reduce__(self):  # another process may run in another folder
        return FileOfTexts, (self.path.absolute(), self.where)


@dataclass(frozen=True)
class FilesOfImages(Corpus):
    """Images on disk: a folder, or a LLaVA JSON or JSONL with the folder that its paths are relative to."""

    path: Path
    image_folder: Path | None
    where: str

    @property
    def parts(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.path.name,)

    def read(self, part: str) -> Iterator[ImageItem]:
        return read_images(self.path, self.image_folder)

    def count(self) -> int | None:
        if self.path.is_dir():
            return sum(1 for _ in self.read(self.parts[0]))  # lists the folder, opens no image
        return record_count(self.path, "images")

    def identity(self) -> dict:
        others: Counter[str] = Counter()
        files = identify_images(self.path, self.image_folder, others)
        if others:
            _log_passed_over(self.where, others, "no images")
        corpus_hash = hash_file(self.path) if self.path.is_file() else None
        return {"corpus": self.path.name, "corpus_hash": corpus_hash, "image_files": files}

    def __reduce__(self):
        folder = self.image_folder and self.image_folder.absolute()
        return FilesOfImages, (self.path.absolute(), folder, self.where)


@dataclass(frozen=True)
class ShardedCorpus(Corpus):
    """Shards of one kind. An id is the one given (`--id-column`; of a tar the key), else `PART:ROW`, rows counted from
    0; of one file that is named itself, of a form without shards, `ROW`.
    """

    where: str
    shards: tuple[Shard, ...]
    reading: Reading
    by_part: dict[str, Shard] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "by_part", {shard.part: shard for shard in self.shards})

    @property
    def parts(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(shard.part for shard in self.shards)

    def read(self, part: str) -> Iterator[TextItem] | Iterator[ImageItem]:
        if part not in self.by_part:
            raise RevisionError(f"{self.where}: has no part '{shown(part)}'; open the corpus again")
        return self._read(self.by_part[part])

    def _read(self, shard: Shard) -> Iterator:
        count = 0
        for item in read_shard(shard, self.reading):
            count += 1
            yield item
        if not count and len(self.shards) > 1:
            logger.info("%s: holds no item", shard.name)

    def count(self) -> int | None:
        here = all(shard.protocol == LOCAL and kind_of(shard.path) == PARQUET for shard in self.shards)
        if not here or len(self.shards) > COUNTED_SHARDS:
            return None
        try:
            return sum(parquet_rows(shard) for shard in self.shards)
        except (RevisionError, OSError):
            return None

    def identity(self) -> dict:
        name = posixpath.basename(self.where.rstrip("/"))
        columns = {"corpus_columns": dict(self.reading.fields)} if self.reading.fields else {}
        first = self.shards[0]
        if len(self.shards) == 1 and first.protocol == LOCAL and first.size <= SMALL:
            return {"corpus": name, "corpus_hash": hash_file(Path(first.path)), **columns}
        states = [[shard.part, shard.size, shard.version] for shard in self.shards]
        return {"corpus": name, "corpus_parts": hash_json(states), **columns}

    def __reduce__(self):
        return ShardedCorpus, (self.where, self.shards, self.reading)


def open_texts(names: Names, *, text_column: str | None = None, id_column: str | None = None) -> Corpus:
    """The texts that `names` stand for: files, folders and globs, on disk or wherever fsspec reaches.

    One file of `TEXT_SUFFIXES` on disk is read as it is where no column is said. A column is one of a table, a member
    of a tar (`txt`, `__key__`) or a field of JSON (`caption`; in a tar `json.caption`); `__row__` as `id_column` makes
    ids of the part and the row. Raises RevisionError for what is not there, is of no known form or of several, and
    where the columns that are meant cannot be told.
    """
    given = _names(names)
    said = {TEXT: text_column, ID: id_column}
    protocol, name = protocol_of(given[0])
    path = Path(name)
    if len(given) == 1 and protocol == LOCAL and not any(said.values()):
        suffix = path.suffix.lower()
        if path.exists() and not path.is_dir() and (suffix in TEXT_SUFFIXES or kind_of(name) is None):
            require_regular(path)
            if kind_of(name) != PARQUET or {*TABLE_TEXTS} & {*parquet_columns(path)}:
                return FileOfTexts(path, name)
    return _sharded(given, said, None, f"give one file of {', '.join(TEXT_SUFFIXES)}, or shards of {FORMS}")


def open_images(
    names: Names,
    image_folder: str | Path | None = None,
    *,
    image_column: str | None = None,
    id_column: str | None = None,
) -> Corpus:
    """The images that `names` stand for, as `open_texts`: a folder of them, a LLaVA JSON or JSONL of paths in
    `image_folder`, or shards that hold them.

    A folder on disk that holds an image is a folder of images, whatever else lies in it. Raises RevisionError as
    `open_texts` does.
    """
    given = _names(names)
    said = {IMAGE: image_column, ID: id_column}
    protocol, name = protocol_of(given[0])
    path, folder = Path(name), None if image_folder is None else Path(image_folder)
    if folder is not None and not folder.is_dir() and (protocol != LOCAL or path.exists()):
        raise RevisionError(f"--image-folder {folder}: no such folder")
    if len(given) == 1 and protocol == LOCAL and not any(said.values()):
        kind = kind_of(name)
        if path.is_dir() and holds_images(path, FOUND[IMAGE] if folder is None else FOUND[TEXT]):
            if folder is not None:
                raise RevisionError(f"--image-folder {folder}: only a JSON of images takes one; leave it out")
            return FilesOfImages(path, None, name)
        if path.exists() and not path.is_dir() and (path.suffix.lower() in (".json", ".jsonl") or kind in (None, TXT)):
            require_regular(path)
            return FilesOfImages(path, folder, name)
    return _sharded(given, said, folder, f"give a folder of images, a .json or .jsonl of paths, or shards of {FORMS}")


def _names(names: Names) -> list[str]:
    given = [str(name) for name in ([names] if isinstance(names, (str, Path)) else names)]
    if not given:
        raise RevisionError("no corpus is given; name a file, a folder or a glob")
    return given


def _sharded(given: list[str], said: dict[str, str | None], folder: Path | None, advice: str) -> ShardedCorpus:
    content = TEXT if TEXT in said else IMAGE
    where = given[0] if len(given) == 1 else f"{given[0]} and {len(given) - 1} more"
    suffixes = FOUND[TEXT if folder is not None else content]
    listing = list_shards(given, suffixes, list(KINDS))
    if not listing.shards:
        if any(map(MAGIC.search, given)):
            raise RevisionError(f"{where}: matches no file of a known form; {advice}")
        raise RevisionError(f"{where}: is a folder; {advice}; it holds none")
    kinds: set[str] = set()
    for shard in listing.shards:
        kind = kind_of(shard.path)
        if kind is None or kind == TXT and content == IMAGE:
            raise RevisionError(f"{shard.name}: cannot read '{Path(shard.path).suffix or 'no suffix'}'; {advice}")
        kinds.add(kind)
    if len(kinds) > 1:
        raise RevisionError(
            f"{where}: holds shards of {' and '.join(sorted(kinds))}; give those of one kind, such as '*.{min(kinds)}'"
        )
    if listing.passed_over:
        suffix_counts = Counter(posixpath.splitext(path)[1].lower() or "no suffix" for path in listing.passed_over)
        _log_passed_over(where, suffix_counts, "no shards")
    if listing.twice and launched_rank() == 0:
        count = len(listing.twice)
        logger.warning("warning: %s: %d file(s) are named twice and read once: %s", where, count, listing.twice[0])
    kind, first = kinds.pop(), listing.shards[0]
    if kind in TABLES:
        fields = table_fields(column_types(first, kind), said, first.name)
    else:
        fields = record_fields(said)
    if kind == TAR:
        refuse_pickles(said)
        if folder is not None:
            raise RevisionError(f"--image-folder {folder}: {first.name} holds its images itself; leave it out")
    if content == IMAGE and kind in (JSON, JSONL) and folder is None:
        raise RevisionError(f"{first.name}: image paths in it need --image-folder")
    by_number = listing.named and len(listing.shards) == 1 and first.path.lower().endswith(TEXT_SUFFIXES)
    reading = Reading(kind, content, fields, folder, by_number)
    problem = first_sample_problem(first, reading) if kind == TAR else None
    if problem:
        raise RevisionError(f"{first.name}: {problem}")
    return ShardedCorpus(where, listing.shards, reading)


def _log_passed_over(where: str, suffixes: Counter[str], what: str) -> None:
    if launched_rank() == 0:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))
        logger.info("%s: %d file(s) are %s and are passed over (%s)", where, suffixes.total(), what, counts)
