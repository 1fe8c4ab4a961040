"""Moments of part of a corpus as a file: parts are summed anywhere, in any order, and no row travels.

A part is a range of the rows of one store, corpus or array, named by its content hash, so that no row counts twice and
none is missing. Parts are added in the order of their content hashes and rows with Neumaier's compensated summation
(ZAMM 54, 1974): the same parts give the same bits in whatever order they come, and means of the same rows cut otherwise
agree within 1e-12.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._common.array_file import read_array_file, write_array_file
from .._common.files import hash_json, is_count, require_types
from ..encoders.identity import Identity, require_same
from ..errors import RevisionError
from .item_views import require_same_view
from .maps import IsotropicMap, LinearMap
from .moments import Moments, stream_moments
from .rows import Rows, block_rows
from .store import Store
from .verification import verified

KIND, FORMAT_VERSION = "moments", 1
REMEDY = "sum it again with 'revision moments'"
TYPES = {
    "modality": lambda value: value in ("text", "image"),
    "dim": lambda value: is_count(value) and value > 0,
    "count": lambda value: is_count(value) and value > 0,
    "content_hash": lambda value: isinstance(value, str),
    "rows": lambda value: isinstance(value, list) and len(value) == 2 and all(map(is_count, value)),
    "of": lambda value: is_count(value) and value > 0,
    "view": lambda value: isinstance(value, (str, type(None))),
    "views": lambda value: isinstance(value, (str, type(None))),
    "through": lambda value: isinstance(value, (str, type(None))),
}


@dataclass(frozen=True)
class Pass:
    """A pass over the source that a fit needs: rows are mapped by `mapping`; `hash` names the map."""

    mapping: IsotropicMap | LinearMap
    covariance: bool
    hash: str


@dataclass(frozen=True)
class PartialMoments:
    """Moments of rows `start` to `stop` of the `of` rows with this content hash, mapped where `through` names a map."""

    moments: Moments
    modality: str
    encoder: Identity | None
    content_hash: str
    start: int
    stop: int
    of: int
    view: str | None = None
    views: str | None = None
    through: str | None = None
    path: Path | None = None  # where it was loaded from

    @property
    def dim(self) -> int:
        return len(self.moments.total)

    def save(self, path: str | Path) -> None:
        """Write the file `path` (safetensors with a JSON record), whole or not at all.

        Raises RevisionError where it exists or cannot be written.
        """
        require_free_file(Path(path))
        record: dict[str, Any] = {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "modality": self.modality,
            "encoder": None if self.encoder is None else self.encoder.to_json(),
            "dim": self.dim,
            "count": self.moments.count,
            "content_hash": self.content_hash,
            "rows": [self.start, self.stop],
            "of": self.of,
            "view": self.view,
            "views": self.views,
            "through": self.through,
        }
        write_array_file(Path(path), record, to_arrays(self.moments))

    @classmethod
    def load(cls, path: str | Path) -> PartialMoments:
        """Read what `save` wrote. Raises RevisionError for anything else."""
        return cls.of_record(Path(path), *read_array_file(Path(path), REMEDY))

    @classmethod
    def of_record(cls, path: Path, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> PartialMoments:
        """A part from its file's record and arrays. Raises RevisionError for those of something else."""
        if record.get("kind") != KIND or record.get("format_version") != FORMAT_VERSION:
            raise RevisionError(f"{path}: not moments of format version {FORMAT_VERSION}; {REMEDY}")
        require_types(record, TYPES, str(path), REMEDY)
        encoder = record.get("encoder")
        start, stop = record["rows"]
        if not start < stop <= record["of"]:
            raise RevisionError(f"{path}: rows cannot be what it says; {REMEDY}")
        return cls(
            of_arrays(record["count"], record["dim"], arrays, path, REMEDY),
            record["modality"],
            None if encoder is None else Identity.from_json(encoder, str(path)),
            record["content_hash"],
            start,
            stop,
            record["of"],
            record["view"],
            record["views"],
            record["through"],
            path,
        )

    def __str__(self) -> str:
        return str(self.path) if self.path else f"the moments of rows {self.start} to {self.stop}"


def to_arrays(moments: Moments, prefix: str = "") -> dict[str, np.ndarray]:
    """The sums of `moments` by name, for a file."""
    outer = {} if moments.outer is None else {f"{prefix}outer": moments.outer}
    return {f"{prefix}total": moments.total, **outer}


def of_arrays(
    count: int, dim: int, arrays: dict[str, np.ndarray], path: Path, remedy: str, prefix: str = ""
) -> Moments:
    """Moments from what `to_arrays` gave. Raises RevisionError for arrays of other shapes, or not finite."""
    total, outer = arrays.get(f"{prefix}total"), arrays.get(f"{prefix}outer")
    for array, shape in ((total, (dim,)), (outer, (dim, dim))):
        if array is None and len(shape) == 2:
            continue
        if array is None or array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
            raise RevisionError(f"{path}: its sums are not finite float64 sums of {dim} dimensions; {remedy}")
    assert total is not None
    return Moments(count, total, outer)


def sum_part(
    rows: Rows,
    *,
    modality: str | None = None,
    encoder: Identity | None = None,
    start: int = 0,
    stop: int | None = None,
    covariance: bool = False,
    through: Pass | None = None,
    device: Any = "cpu",
) -> PartialMoments:
    """Moments of rows `start` to `stop` of `rows`, a store or an array as `Rows`, in one pass in float64.

    A store says its modality and encoder itself; of other rows give the `modality`, "text" or "image", and, to use the
    aligner in training, the `encoder`. Whole stores are verified beside the pass; a range leaves that out, which would
    read all rows. Raises RevisionError for unusable rows, an empty range, a store that is aligned or whose views are
    not chosen, and mapped rows that are no texts.
    """
    stop = len(rows) if stop is None else stop
    if not 0 <= start < stop <= len(rows):
        raise RevisionError(f"rows {start} to {stop} are no range of {len(rows)} rows")
    views = None
    if isinstance(rows, Store):
        modality, encoder, views = rows.manifest.modality, rows.encoder, rows.manifest.views
        rows.require(modality, "this corpus")
    else:
        modality, encoder = getattr(rows, "modality", modality), getattr(rows, "encoder_identity", encoder)
    if modality not in ("text", "image"):
        raise RevisionError(f"moments need a modality, 'text' or 'image', not {modality!r}")
    if through is not None and modality != "text":
        raise RevisionError("only texts are mapped: give the text store to a further pass, images need none")
    with verified(*([rows] if (start, stop) == (0, len(rows)) else [])):
        moments = stream_moments(
            rows,
            covariance=covariance if through is None else through.covariance,
            transform=None if through is None else through.mapping,
            start=start,
            stop=stop,
            device=device,
        )
    return PartialMoments(
        moments,
        modality,
        encoder,
        content_hash(rows),
        start,
        stop,
        len(rows),
        getattr(rows, "view", None),
        views,
        None if through is None else through.hash,
    )


def content_hash(rows: Rows) -> str:
    """What names these rows: a store's content hash, or the SHA-256 of the embeddings, in hex."""
    if isinstance(rows, Store):
        return rows.manifest.content_hash
    known = getattr(rows, "content_hash", None)
    if known is not None:
        return known
    digest = hashlib.sha256()
    for block in rows.blocks(block_rows(rows.dim)):
        digest.update(f"{block.dtype}".encode())
        for row in np.ascontiguousarray(block):
            digest.update(row.data)
    return digest.hexdigest()


@dataclass(frozen=True)
class CorpusSums:
    """Moments of one modality's rows; `contents` says how many rows there are of each content hash."""

    moments: Moments
    encoder: Identity | None
    contents: dict[str, int]
    view: str | None
    views: str | None

    @property
    def content_hash(self) -> str:
        """That of the one store, or a hash of all of them."""
        return next(iter(self.contents)) if len(self.contents) == 1 else hash_json(self.contents)


def combine(parts: Sequence[PartialMoments], *, covariance: bool) -> CorpusSums:
    """The sums of one modality's parts, whatever their order; with outer products where `covariance` asks for them.

    Raises RevisionError for parts of different encoders, modalities, views, dimensions or maps, for rows that are in
    two of them, or in none, and for parts without the outer products that are needed.
    """
    parts = sorted(parts, key=lambda each: (each.content_hash, each.start, each.stop, str(each.path)))
    first = parts[0]
    for other in parts[1:]:
        require_combinable(first, other)
        if first.modality != other.modality:
            raise RevisionError(f"{other}: is of {other.modality}s, {first} of {first.modality}s; combine one kind")
        if first.through != other.through:
            raise RevisionError(f"{other}: was summed through another map than {first}; give those of one pass")
    _require_all_rows_once(parts)
    lacking = [each for each in parts if covariance and each.moments.outer is None]
    if lacking:
        raise RevisionError(f"{lacking[0]}: holds no covariance; {REMEDY} --covariance")
    moments = Moments.sum([each.moments for each in parts], covariance=covariance)
    return CorpusSums(moments, first.encoder, {each.content_hash: each.of for each in parts}, first.view, first.views)


def require_combinable(first: PartialMoments, other: PartialMoments) -> None:
    """Raise RevisionError for parts, of whatever modality, that no fit can use together."""
    if first.dim != other.dim:
        raise RevisionError(f"{other}: has {other.dim} dimensions, {first} {first.dim}; combine those of one encoder")
    if (first.encoder is None) != (other.encoder is None):
        nameless, named = (first, other) if first.encoder is None else (other, first)
        raise RevisionError(f"{nameless}: names no encoder, {named} does; name it when summing: encoder=...")
    if first.encoder is not None and other.encoder is not None:
        problem = f"{other}: is of another encoder than {first}"
        require_same(other.encoder, first.encoder, problem, "combine those of one encoder")
    require_same_view(str(other), other.view, str(first), first.view)


def _require_all_rows_once(parts: Sequence[PartialMoments]) -> None:
    for index, part in enumerate(parts):
        before = parts[index - 1] if index and parts[index - 1].content_hash == part.content_hash else None
        after = parts[index + 1] if index + 1 < len(parts) else None
        reached = before.stop if before else 0
        if before and before.of != part.of:
            raise RevisionError(f"{part}: says {part.of} rows of content that has {before.of} in {before}; {REMEDY}")
        if before and part.start < reached:
            raise RevisionError(f"{part}: rows {part.start} to {part.stop} are in {before}, too; give every row once")
        if part.start > reached:
            raise _missing(part, reached, part.start)
        if (after is None or after.content_hash != part.content_hash) and part.stop < part.of:
            raise _missing(part, part.stop, part.of)


def _missing(part: PartialMoments, start: int, stop: int) -> RevisionError:
    return RevisionError(
        f"rows {start} to {stop} of the {part.of} that {part} has a part of are in no file; sum them, too: "
        f"'revision moments ... --rows {start}:{stop}'"
    )


def require_free_file(path: Path) -> None:
    """Raise RevisionError where something is at `path` already, or its folder is not there."""
    if path.exists() or path.is_symlink():
        raise RevisionError(f"{path}: already exists; choose another --out or delete it")
    if not path.parent.is_dir():
        raise RevisionError(f"{path.parent}: no such folder; make it first")
