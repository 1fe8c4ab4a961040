"""Brings features made elsewhere into an embedding store: the ReVision authors' .pkl, clip-retrieval, .npy, parquet."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..corpora.pickles import load_plain_pickle
from ..corpora.texts import read_texts
from ..encoders import load_encoder
from ..errors import RevisionError
from .store import Store
from .writer import StoreWriter

CHUNK_ROWS = 16384
EXTERNAL = "external:"


@dataclass(frozen=True)
class Features:
    """A run of rows: ids, raw embeddings [n, D] of a float dtype, and texts (empty for images)."""

    ids: list[str]
    embeddings: np.ndarray
    texts: list[str]


def convert(source: Path, out: Path, *, modality: str, encoder: str, texts: Path | None = None, dtype: str = "float16",
            max_failures: int = 0) -> Store:  # fmt: skip
    """Write the store `out` from `source`, in its order, each row scaled to unit norm.

    `encoder` is the spec the features were made with, or `external:NAME` where it cannot be loaded here. Raises
    RevisionError for unreadable files, ragged rows, and rows that are not finite or zero beyond `max_failures`.
    """
    identity = _identity(encoder)
    parts = _read(source, modality, texts)
    first = next(parts, None)
    if first is None:
        raise RevisionError(f"{source}: holds no rows")
    dim = first.embeddings.shape[1]
    request = {"source": source.name, "files": sorted((p.name, p.stat().st_size) for p in _files(source))}
    writer = StoreWriter(out, modality=modality, encoder=identity, dim=dim, dtype=dtype, request=request)
    with contextlib.closing(writer):
        chunk, failures = 0, 0
        for part in _chain(first, parts):
            if part.embeddings.shape[1] != dim:
                raise RevisionError(
                    f"{source}: rows of {part.embeddings.shape[1]} dimensions after rows of {dim}; convert them apart"
                )
            for start in range(0, len(part.ids), CHUNK_ROWS):
                failures += _write(writer, chunk, part, slice(start, start + CHUNK_ROWS), modality)
                chunk += 1
            if failures > max_failures:
                bad = writer.failures(chunk)
                raise RevisionError(
                    f"{source}: {failures} unusable row(s), first '{bad[0]['id']}': {bad[0]['reason']} "
                    f"(all in {writer.write_failures(bad)}); allow them with --max-failures {failures}"
                )
        return writer.finish(chunk)


def _chain(first: Features, rest: Iterator[Features]) -> Iterator[Features]:
    yield first
    yield from rest


def _identity(spec: str) -> dict:
    if spec.startswith(EXTERNAL):
        return {"spec": spec, "fingerprint": hashlib.sha256(spec.encode()).hexdigest()}
    return load_encoder(spec).identity


def _write(writer: StoreWriter, chunk: int, part: Features, rows: slice, modality: str) -> int:
    embeddings = part.embeddings[rows].astype(np.float64)
    norms = np.linalg.norm(embeddings, axis=1)
    good = np.isfinite(norms) & (norms > 0)
    ids = part.ids[rows]
    failures = [
        {"id": ids[i], "reason": "is zero" if norms[i] == 0 else "holds NaN or infinity"} for i in np.flatnonzero(~good)
    ]
    kept = np.flatnonzero(good)
    extra = {"texts": [part.texts[rows][i] for i in kept]} if modality == "text" else {}
    writer.write_chunk(chunk, [ids[i] for i in kept], embeddings[kept] / norms[kept, None], failures=failures, **extra)
    return len(failures)


def _files(source: Path) -> list[Path]:
    return sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]


def _read(source: Path, modality: str, texts: Path | None) -> Iterator[Features]:
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
    found = [item.text for item in read_texts(texts)]
    if len(found) != count:
        raise RevisionError(f"{texts}: {len(found)} texts for {count} rows; they must correspond line by line")
    return found


def _read_clip_retrieval(folder: Path, modality: str) -> Iterator[Features]:
    import pyarrow.parquet as pq

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
    import pyarrow as pa
    import pyarrow.parquet as pq

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
    for batch in file.iter_batches(batch_size=CHUNK_ROWS):
        rows = batch.column(vector).to_pylist()
        if len({len(row) if row is not None else -1 for row in rows}) != 1 or rows[0] is None:
            raise RevisionError(f"{path}: its vectors are not all of one length")
        ids = batch.column("id").to_pylist() if "id" in names else range(start, start + len(rows))
        texts = [str(v) for v in batch.column(text).to_pylist()] if modality == "text" else []
        yield Features([str(i) for i in ids], np.array(rows, np.float32), texts)
        start += len(rows)
