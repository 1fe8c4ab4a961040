"""Brings features made elsewhere into an embedding store: the ReVision authors' .pkl, clip-retrieval, .npy, parquet."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .._common.files import hash_file
from ..corpora.features import Features, read_features
from ..encoders import Identity, load_encoder
from ..errors import RevisionError
from .addresses import store_name
from .store import Store
from .writer import StoreWriter

CHUNK_ROWS = 16384
EXTERNAL = "external:"


def convert(
    source: Path,
    out: Path | str,
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
    here = store_name(out)
    if source.is_dir() and isinstance(here, Path) and here.resolve().is_relative_to(source.resolve()):
        raise RevisionError(f"--out {out}: lies inside the features; choose another --out")
    identity, encoder_dim = _identity(encoder)
    parts = read_features(source, modality, texts)
    first = next(parts, None)
    if first is None:
        raise RevisionError(f"{source}: holds no rows")
    dim = first.embeddings.shape[1]
    if encoder_dim not in (None, dim):
        raise RevisionError(f"{source}: rows of {dim} dimensions; encoder '{encoder}' gives {encoder_dim}")
    # the times of large files, instead of their contents, which would have to be read twice
    request = {
        "source": source.name,
        "files": [(str(p.relative_to(source)), p.stat().st_size, p.stat().st_mtime_ns) for p in _files(source)],
        "texts": hash_file(texts) if texts else None,
    }
    writer = StoreWriter(out, modality=modality, encoder=identity, dim=dim, dtype=dtype, request=request)
    with contextlib.closing(writer):
        chunk, failures = 0, 0
        for part in _chain(first, parts):
            if part.embeddings.shape[1] != dim:
                raise RevisionError(
                    f"{source}: rows of {part.embeddings.shape[1]} dimensions after rows of {dim}; convert them apart"
                )
            for start in range(0, len(part.ids), CHUNK_ROWS):
                if not writer.has_chunk(chunk):
                    _write(writer, chunk, part, slice(start, start + CHUNK_ROWS), modality)
                failures += len(writer.chunk_failures(chunk))
                writer.join()
                chunk += 1
            if failures > max_failures:
                first_bad = next(writer.failures())
                raise RevisionError(
                    f"{source}: {failures} unusable row(s), first '{first_bad['id']}': {first_bad['reason']} "
                    f"(all in {writer.write_failures(writer.failures())}); allow them with --max-failures {failures}"
                )
        return writer.finish(chunk)


def _chain(first: Features, rest: Iterator[Features]) -> Iterator[Features]:
    yield first
    yield from rest


def _identity(spec: str) -> tuple[Identity, int | None]:
    """The encoder's identity and its dimension, where it can be known."""
    if spec.startswith(EXTERNAL):
        return Identity(spec, hashlib.sha256(spec.encode()).hexdigest()), None
    encoder = load_encoder(spec)
    return encoder.identity, encoder.dim


def _files(source: Path) -> list[Path]:
    return sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]


def _write(writer: StoreWriter, chunk: int, part: Features, rows: slice, modality: str) -> None:
    embeddings = part.embeddings[rows].astype(np.float64)
    norms = np.linalg.norm(embeddings, axis=1)
    ids = part.ids[rows]
    reasons = {row: "is zero" if norms[row] == 0 else "holds NaN or infinity" for row in _no_direction(norms)}
    reasons |= {row - rows.start: reason for row, reason in part.problems.items() if rows.start <= row < rows.stop}
    failures = [{"id": ids[row], "reason": reasons[row]} for row in sorted(reasons)]
    good = np.ones(len(ids), bool)
    good[list(reasons)] = False
    usable_rows = np.flatnonzero(good)
    extra: dict[str, Any] = {}
    if modality == "text":
        talks = part.conversations[rows] or [None] * len(ids)
        extra = {"texts": [part.texts[rows][i] for i in usable_rows], "conversations": [talks[i] for i in usable_rows]}
    writer.write_chunk(
        chunk,
        [ids[i] for i in usable_rows],
        embeddings[usable_rows] / norms[usable_rows, None],
        failures=failures,
        **extra,
    )


def _no_direction(norms: np.ndarray) -> list[int]:
    return np.flatnonzero(~(np.isfinite(norms) & (norms > 0))).tolist()
