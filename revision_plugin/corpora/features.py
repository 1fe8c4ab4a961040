"""Reads features made elsewhere: the ReVision authors' .pkl, clip-retrieval folders, .npy and parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import RevisionError
from .pickles import load_plain_pickle
from .texts import read_texts

BATCH_ROWS = 16384


@dataclass(frozen=True)
class Features:
    """A run of rows: ids, raw embeddings [n, D] of a float dtype, and texts (empty for images)."""

    ids: list[str]
    embeddings: np.ndarray
    texts: list[str]


def read_features(source: Path, modality: str, texts: Path | None) -> Iterator[Features]:
    """The rows of `source` in order, in parts. Raises RevisionError for files that cannot be read or rows that are
    ragged.
    """
    if not source.exists():
        raise RevisionError(f"{source}: no such file or folder")
    if source.is_dir() and (source / ("text_emb" if modality == "text" else "img_emb")).is_dir():
        yield from _read_clip_retrieval(source, modality)
    elif source.suffix == ".pkl" or (source.is_dir() and list(source.glob("*.pkl"))):
        files = [source] if source.is_file() else sorted(source.glob("*.pkl"), key=_part_number)
        for file in files:
            yield _read_pickle(file, modality)
    elif source.suffix == ".npy":
        array = _load_array(source)
        ids = [str(i) for i in range(len(array))]
        yield Features(ids, array, _texts_beside(texts, len(array)) if modality == "text" else [])
    elif source.suffix == ".parquet":
        yield from _read_parquet(source, modality)
    else:
        raise RevisionError(
            f"{source}: give a .pkl, .npy or .parquet file, a folder of .pkl parts, or a clip-retrieval folder"
        )


def _part_number(path: Path):
    tail = path.stem.rpartition("_")[2]
    return (int(tail) if tail.isdigit() else -1, path.name)


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
    rows = [np.asarray(item["embed"]) for item in data]
    if len({row.shape for row in rows}) != 1 or rows[0].ndim != 1 or not np.issubdtype(rows[0].dtype, np.number):
        raise RevisionError(f"{path}: its vectors are not all numeric and of one length")
    return Features([str(item["id"]) for item in data], np.stack(rows), [str(item.get("caption", "")) for item in data])


def _load_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise RevisionError(f"{path}: not a plain .npy array: {str(error).splitlines()[0]}") from None
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise RevisionError(f"{path}: expected floats of shape [N, D], found {array.dtype} {list(array.shape)}")
    return array


def _texts_beside(texts: Path | None, count: int) -> list[str]:
    if texts is None:
        raise RevisionError("text features from .npy need --texts FILE with the texts in the same order")
    row_texts = [item.text for item in read_texts(texts)]
    if len(row_texts) != count:
        raise RevisionError(f"{texts}: {len(row_texts)} texts for {count} rows; they must correspond line by line")
    return row_texts


def _read_clip_retrieval(folder: Path, modality: str) -> Iterator[Features]:
    kind = "text" if modality == "text" else "img"
    for file in sorted((folder / f"{kind}_emb").glob("*.npy"), key=_part_number):
        array = _load_array(file)
        meta = folder / "metadata" / f"metadata_{file.stem.rpartition('_')[2]}.parquet"
        if not meta.is_file():
            raise RevisionError(f"{file}: its {meta.relative_to(folder)} is missing")
        table = pq.read_table(meta)
        if table.num_rows != len(array):
            raise RevisionError(f"{meta}: {table.num_rows} rows for the {len(array)} of {file.name}")
        if modality == "text" and "caption" not in table.column_names:
            raise RevisionError(f"{meta}: has no column 'caption'")
        name = next((n for n in ("key", "image_path", "url") if n in table.column_names), None)
        ids = (
            [str(v) for v in table.column(name).to_pylist()]
            if name
            else [f"{file.stem}-{i}" for i in range(len(array))]
        )
        yield Features(ids, array, [str(v) for v in table.column("caption").to_pylist()] if modality == "text" else [])


def _read_parquet(path: Path, modality: str) -> Iterator[Features]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise RevisionError(f"{path}: not a parquet file: {str(error).splitlines()[0]}") from None
    names = file.schema_arrow.names
    vector = next((n for n in ("embedding", "embed", "emb") if n in names), None)
    text = next((n for n in ("text", "caption") if n in names), None)
    if vector is None or (modality == "text" and text is None):
        raise RevisionError(
            f"{path}: needs a column 'embedding'{' and text' if modality == 'text' else ''}; it has {', '.join(names)}"
        )
    start = 0
    for batch in file.iter_batches(batch_size=BATCH_ROWS):
        rows = batch.column(vector).to_pylist()
        if len({len(row) if row is not None else -1 for row in rows}) != 1 or rows[0] is None:
            raise RevisionError(f"{path}: its vectors are not all of one length")
        ids = batch.column("id").to_pylist() if "id" in names else range(start, start + len(rows))
        texts = [str(v) for v in batch.column(text).to_pylist()] if modality == "text" else []
        yield Features([str(i) for i in ids], np.array(rows, np.float32), texts)
        start += len(rows)
