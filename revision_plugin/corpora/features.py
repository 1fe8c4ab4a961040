"""Reads features made elsewhere: the ReVision authors' .pkl, clip-retrieval folders, .npy and parquet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError

import numpy as np

from .._common.files import require_regular
from ..errors import RevisionError, first_line
from .pickles import load_plain_pickle
from .texts import column_values, identify, parquet_batches, parquet_columns, read_texts, text_problem

BATCH_ROWS = 16384
BAD_HEAD = (SyntaxError, TokenError, TypeError, KeyError, RecursionError)  # of an .npy, which is read as Python's text
ID_COLUMNS = ("key", "image_path", "url")  # of clip-retrieval's metadata


@dataclass(frozen=True)
class Features:
    """A run of rows: ids, raw embeddings [n, D] of a float dtype, texts (empty for images), and by row the `problems`
    for which one is unusable.
    """

    ids: list[str]
    embeddings: np.ndarray
    texts: list[str]
    problems: dict[int, str] = field(default_factory=dict)
    conversations: list = field(default_factory=list)  # of texts that came with one, row by row, or empty

    @classmethod
    def of(cls, ids: Sequence, embeddings: np.ndarray, texts: Sequence | None, start: int = 0) -> Features:
        """Rows with ids and texts as a file gives them: null, or anything but text (an id may be a whole number), makes
        a row unusable. `start` is the number of the first row.
        """
        named = [identify({"id": each}, str(start + row)) for row, each in enumerate(ids)]
        problems = {row: problem for row, (_, problem) in enumerate(named) if problem}
        for row, text in enumerate(texts or ()):
            problem = (text_problem(text) if text.strip() else "is blank") if isinstance(text, str) else "has no text"
            if problem:
                problems.setdefault(row, problem)
        row_texts = ["" if row in problems else str(text).strip() for row, text in enumerate(texts or ())]
        return cls([name for name, _ in named], embeddings, row_texts, problems)


def read_features(source: Path, modality: str, texts: Path | None) -> Iterator[Features]:
    """The rows of `source` in order, in parts. Raises RevisionError for files that cannot be read or rows that are
    ragged.
    """
    if not source.is_dir():
        require_regular(source)
    if texts is not None and (source.suffix != ".npy" or modality != "text"):
        raise RevisionError(f"--texts {texts}: only text features from .npy take their texts from a file beside them")
    if source.is_dir() and (source / ("text_emb" if modality == "text" else "img_emb")).is_dir():
        yield from _read_clip_retrieval(source, modality)
    elif source.suffix == ".pkl" or (source.is_dir() and list(source.glob("*.pkl"))):
        for file in [source] if source.is_file() else _pickled_parts(source):
            yield _read_pickle(file, modality)
    elif source.suffix == ".npy":
        array = _load_array(source)
        ids = [str(i) for i in range(len(array))]
        yield _with_texts_beside(array, texts) if modality == "text" else Features(ids, array, [])
    elif source.suffix == ".parquet":
        yield from _read_parquet(source, modality)
    else:
        raise RevisionError(
            f"{source}: give a .pkl, .npy or .parquet file, a folder of .pkl parts, or a clip-retrieval folder"
        )


def _part_number(path: Path):
    tail = path.stem.rpartition("_")[2]
    return (int(tail) if tail.isascii() and tail.isdigit() else -1, path.name)


def _pickled_parts(folder: Path) -> list[Path]:
    """The parts of a folder in the order of their numbers. Raises RevisionError for anything else in it."""
    parts = sorted(folder.glob("*.pkl"), key=_part_number)
    others = sorted(path.name for path in folder.iterdir() if path not in parts and not path.name.startswith("."))
    if others:
        raise RevisionError(f"{folder}: holds {others[0]} beside its .pkl parts; a folder of parts holds nothing else")
    _require_distinct(parts, [_part_number(path)[0] for path in parts])
    return parts


def _require_distinct(files: list[Path], numbers: list[int]) -> None:
    """Raise RevisionError where two of the files have one number; below 0 it is none."""
    counts = Counter(numbers)
    twice = [file for file, number in zip(files, numbers) if number >= 0 and counts[number] > 1]
    if twice:
        raise RevisionError(f"{twice[0]}: another file has the same number; leave one of them")


def _read_pickle(path: Path, modality: str) -> Features:
    """The authors' form: a list of {'id', 'embed', 'caption' or 'image_path'}; a dict id -> vector is read, too."""
    data = load_plain_pickle(path)
    if isinstance(data, dict):
        data = [{"id": key, "embed": value} for key, value in data.items()]
    if not isinstance(data, list) or not all(
        isinstance(item, dict) and "embed" in item and "id" in item for item in data
    ):
        raise RevisionError(f"{path}: expected a list of records with 'id' and 'embed', or a dict of id to vector")
    if modality == "text" and not all("caption" in item for item in data):
        raise RevisionError(f"{path}: its records have no 'caption'; convert image features with --modality image")
    if modality == "image" and any("caption" in item and "image_path" not in item for item in data):
        raise RevisionError(f"{path}: its records have captions and no image; convert it with --modality text")
    rows = _stack([item["embed"] for item in data], path, most_bytes=64 * path.stat().st_size)
    texts = [item["caption"] for item in data] if modality == "text" else None
    return Features.of([_plain(item["id"]) for item in data], rows, texts)


def _plain(identity: object) -> object:
    return identity.item() if isinstance(identity, np.generic) else identity


def _stack(vectors: list, path: Path, most_bytes: float = math.inf) -> np.ndarray:
    """Vectors of one length as rows [n, D] of floats; whole numbers are taken as floats.

    Raises RevisionError for others, and for rows of more than `most_bytes`: many references to one vector.
    """
    try:
        rows = [np.asarray(vector) for vector in vectors]
    except (ValueError, TypeError, OverflowError):
        rows = []
    if len({row.shape for row in rows}) != 1 or rows[0].ndim != 1 or not len(rows[0]):
        raise RevisionError(f"{path}: its vectors are not all numeric and of one length")
    if len(rows) * rows[0].nbytes > most_bytes:
        raise RevisionError(f"{path}: its rows unfold to many times the size of the file")
    kinds = {row.dtype.kind for row in rows}
    if not kinds <= set("fiu"):
        raise RevisionError(f"{path}: its vectors are not all real numbers, but of type {rows[0].dtype}")
    return np.stack(rows) if kinds == {"f"} else np.stack(rows).astype(np.float64)


def _load_array(path: Path) -> np.ndarray:
    require_regular(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (*BAD_HEAD, ValueError, EOFError, OSError, MemoryError) as error:
        raise RevisionError(f"{path}: not a plain .npy array: {first_line(error)}") from None
    if not isinstance(array, np.memmap) or array.offset + array.nbytes != path.stat().st_size:
        raise RevisionError(f"{path}: holds something else than one array; write one array into one .npy")
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating) or not array.shape[1]:
        raise RevisionError(f"{path}: expected floats of shape [N, D], found {array.dtype} {list(array.shape)}")
    return array


def _with_texts_beside(array: np.ndarray, texts: Path | None) -> Features:
    """Rows with the ids, texts and conversations of the corpus beside them."""
    if texts is None:
        raise RevisionError("text features from .npy need --texts FILE with the texts in the same order")
    items = list(read_texts(texts))
    if len(items) != len(array):
        raise RevisionError(f"{texts}: {len(items)} texts for {len(array)} rows; they must correspond line by line")
    problems = {row: item.problem for row, item in enumerate(items) if item.problem is not None}
    talks = [item.conversations for item in items]
    return Features([item.id for item in items], array, [item.text for item in items], problems, talks)


def _read_clip_retrieval(folder: Path, modality: str) -> Iterator[Features]:
    kind = "text" if modality == "text" else "img"
    start = 0
    for number, file in _parts(folder, f"{kind}_emb/{kind}_emb", ".npy").items():
        array = _load_array(file)
        meta = folder / "metadata" / f"metadata_{number}.parquet"
        if not meta.is_file():
            raise RevisionError(f"{file}: its {meta.relative_to(folder)} is missing")
        names = parquet_columns(meta)
        if modality == "text" and "caption" not in names:
            raise RevisionError(f"{meta}: has no column 'caption'")
        name = next((n for n in ID_COLUMNS if n in names), None)
        wanted = [*([name] if name else []), *(["caption"] if modality == "text" else [])]
        columns: dict[str, list] = {each: [] for each in wanted}
        rows = 0
        for batch in parquet_batches(meta, wanted or names[:1]):
            rows += batch.num_rows
            for each in wanted:
                columns[each] += column_values(meta, batch, each)
        if rows != len(array):
            raise RevisionError(f"{meta}: {rows} rows for the {len(array)} of {file.name}")
        ids = columns[name] if name else [f"{file.stem}-{i}" for i in range(len(array))]
        yield Features.of(ids, array, columns["caption"] if modality == "text" else None, start)
        start += rows


def _parts(folder: Path, stem: str, suffix: str) -> dict[str, Path]:
    """The numbered parts of a clip-retrieval folder, in order, by their numbers as they are written.

    Raises RevisionError for a gap in the numbers, and for metadata whose embeddings are not there.
    """

    def numbered(pattern: str) -> dict[int, Path]:
        place, _, ending = pattern.rpartition("*")
        files = [(file.stem.rpartition("_")[2], file) for file in sorted((folder / place).parent.glob(f"*{ending}"))]
        strange = [file for name, file in files if not (name.isascii() and name.isdigit())]
        if strange:
            raise RevisionError(f"{strange[0]}: its name does not end in the number of a part")
        _require_distinct([file for _, file in files], [int(name) for name, _ in files])
        return dict(sorted((int(name), file) for name, file in files))

    parts = numbered(f"{stem}_*{suffix}")
    described = numbered("metadata/metadata_*.parquet")
    expected = {*range(max(parts, default=-1) + 1), *described}
    missing = sorted(expected - parts.keys())
    if missing:
        raise RevisionError(f"{folder}: {stem}_{missing[0]}{suffix} is missing; the parts go up to {max(expected)}")
    return {file.stem.rpartition("_")[2]: file for file in parts.values()}


def _read_parquet(path: Path, modality: str) -> Iterator[Features]:
    names = parquet_columns(path)
    vector = next((n for n in ("embedding", "embed", "emb") if n in names), None)
    text = next((n for n in ("text", "caption") if n in names), None)
    if vector is None or (modality == "text" and text is None):
        raise RevisionError(
            f"{path}: needs a column 'embedding'{' and text' if modality == 'text' else ''}; it has {', '.join(names)}"
        )
    name = next((n for n in ("id", *ID_COLUMNS) if n in names), None)
    if modality == "image" and text and not any(n in names for n in ID_COLUMNS):
        raise RevisionError(f"{path}: has texts and names no image; convert it with --modality text, or drop '{text}'")
    if modality == "text" and "conversations" in names:
        raise RevisionError(f"{path}: has conversations; only --texts beside an .npy can give them, so drop the column")
    wanted = [vector, *([name] if name else []), *([text] if text and modality == "text" else [])]
    start = 0
    for batch in parquet_batches(path, wanted, BATCH_ROWS):
        rows = _stack(column_values(path, batch, vector), path)
        ids = column_values(path, batch, name) if name else range(start, start + len(rows))
        texts = column_values(path, batch, text) if text and modality == "text" else None
        yield Features.of(ids, rows.astype(np.float32), texts, start)
        start += len(rows)
