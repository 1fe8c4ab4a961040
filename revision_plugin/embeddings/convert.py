"""Brings features made elsewhere into an embedding store: the ReVision authors' .pkl, clip-retrieval, .npy, parquet."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..corpora.features import Features, read_features
from ..encoders import Identity, load_encoder
from ..errors import RevisionError
from .store import Store
from .writer import StoreWriter

CHUNK_ROWS = 16384
EXTERNAL = "external:"


def convert(
    source: Path,
    out: Path,
    *,
    modality: str,
    encoder: str,
    texts: Path | None = None,
    dtype: str = "float16",
    max_failures: int = 0,
) -> Store:
    """Write the store `out` from `source`, in its order, each row scaled to unit norm.

    `encoder` is the spec the features were made with, or `external:NAME` where it cannot be loaded here. Raises
    RevisionError for unreadable files, ragged rows, and rows that are not finite or zero beyond `max_failures`.
    """
    identity = _identity(encoder)
    parts = read_features(source, modality, texts)
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


def _identity(spec: str) -> Identity:
    if spec.startswith(EXTERNAL):
        return Identity(spec, hashlib.sha256(spec.encode()).hexdigest())
    return load_encoder(spec).identity


def _files(source: Path) -> list[Path]:
    return sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]


def _write(writer: StoreWriter, chunk: int, part: Features, rows: slice, modality: str) -> int:
    embeddings = part.embeddings[rows].astype(np.float64)
    norms = np.linalg.norm(embeddings, axis=1)
    good = np.isfinite(norms) & (norms > 0)
    ids = part.ids[rows]
    failures = [
        {"id": ids[i], "reason": "is zero" if norms[i] == 0 else "holds NaN or infinity"} for i in np.flatnonzero(~good)
    ]
    usable_rows = np.flatnonzero(good)
    extra: dict[str, Any] = {"texts": [part.texts[rows][i] for i in usable_rows]} if modality == "text" else {}
    writer.write_chunk(
        chunk,
        [ids[i] for i in usable_rows],
        embeddings[usable_rows] / norms[usable_rows, None],
        failures=failures,
        **extra,
    )
    return len(failures)
