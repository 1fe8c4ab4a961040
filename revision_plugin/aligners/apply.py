"""Applies an aligner to a text store: a new store of aligned embeddings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._common.engines import PIECES_A_WORKER, Piece, Work, engine
from .._common.progress import track
from ..embeddings.content_hashes import matrices
from ..embeddings.item_views import require_same_view
from ..embeddings.store import Store
from ..embeddings.writer import StoreWriter
from ..errors import RevisionError
from . import Aligner
from .domain import warn_if_far

CHUNK_ROWS = 16384


def apply_aligner(aligner: Aligner, source: Store, out: Path | str, *, dtype: str | None = None) -> Store:
    """Write `source` with every embedding aligned, in the source's order, to the store `out`. Of a text's parts each
    becomes an item, `ID#VIEW`. Under `running_on` an engine its workers align; `source` and `out` must lie where all of
    them reach.

    Raises RevisionError for a source of another encoder, of images, or already aligned; warns for one of another
    domain.
    """
    if source.manifest.modality != "text":
        raise RevisionError(f"{source.path}: is an image store; alignment moves texts, images stay as they are")
    source.require("text", "the source")
    source.verify()
    aligner.check_encoder(source.encoder, str(source.path))
    require_same_view(str(source.path), source.view, "the aligner", aligner.report.source.view)
    warn_if_far(aligner, source, corpus=source.path, aligner_path=aligner.path or "ALIGNER")
    request: dict[str, object] = {"source": source.manifest.content_hash, "aligner": aligner.identity}
    if source.manifest.views:
        request["view"] = source.view
    settings: dict[str, Any] = dict(
        modality="text",
        encoder=source.encoder,
        dim=source.dim,
        dtype=dtype or source.manifest.dtype,
        request=request,
        aligner=aligner.identity,
    )
    writer, workers, chunks = StoreWriter(out, **settings), engine(), -(-len(source) // CHUNK_ROWS)
    with contextlib.closing(writer), track("align", total=len(source), unit="row") as advance:
        if workers is None:
            for rows in _align(aligner, source, writer, (0, chunks), CHUNK_ROWS):
                writer.join()
                advance(rows)
        else:
            each = -(-chunks // (PIECES_A_WORKER * workers.workers))
            pieces = [(first, min(first + each, chunks)) for first in range(0, chunks, each)]
            for result in workers.map(ApplyWork(aligner, source, writer.place, settings, CHUNK_ROWS), pieces):
                writer.join()
                advance(int(result.sum()))
        return writer.finish(chunks)


def _align(aligner: Aligner, source: Store, writer: StoreWriter, chunks: Piece, size: int) -> Iterator[int]:
    """Write the chunks from the first number to the second that are not there; yields the rows of each."""
    first, stop = chunks
    names = ["id", "embedding", "text", "conversations", *(["view"] if source.manifest.views else [])]
    tables = source.tables(names, size, first * size, min(stop * size, len(source)))
    for chunk, table in enumerate(tables, first):
        if not writer.has_chunk(chunk):
            ids = table.column("id").to_pylist()
            if source.manifest.views:  # an item's parts, which are items of the new store
                numbers = table.column("view").to_pylist()
                ids = [f"{identity}#{view}" if view else identity for identity, view in zip(ids, numbers)]
            rows = np.concatenate(list(matrices(table, source.dim))).astype(np.float64)
            texts, conversations = (table.column(name).to_pylist() for name in ("text", "conversations"))
            writer.write_chunk(chunk, ids, aligner.transform(rows), texts=texts, conversations=conversations)
        yield len(table)


@dataclass(frozen=True)
class ApplyWork:
    """What a worker of an engine does: it aligns the chunks from the first to the second number of a piece."""

    aligner: Aligner
    source: Store
    out: Path | str
    settings: dict[str, Any]
    chunk_rows: int

    def __call__(self) -> Work:
        writer = StoreWriter(self.out, **self.settings, owner=False)

        def work(piece: Piece) -> np.ndarray:
            return np.array([*_align(self.aligner, self.source, writer, piece, self.chunk_rows)], np.float64)

        return work
