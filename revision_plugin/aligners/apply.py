"""Applies an aligner to a text store: a new store of aligned embeddings."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from .._common.progress import track
from ..embeddings.content_hashes import matrices
from ..embeddings.item_views import require_same_view
from ..embeddings.store import Store
from ..embeddings.writer import StoreWriter
from ..errors import RevisionError
from . import Aligner
from .domain import warn_if_far

CHUNK_ROWS = 16384


def apply_aligner(aligner: Aligner, source: Store, out: Path, *, dtype: str | None = None) -> Store:
    """Write `source` with every embedding aligned, in the source's order, to the store `out`. Of a text's parts each
    becomes an item, `ID#VIEW`.

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
    writer = StoreWriter(
        out,
        modality="text",
        encoder=source.encoder,
        dim=source.dim,
        dtype=dtype or source.manifest.dtype,
        request=request,
        aligner=aligner.identity,
    )
    names = ["id", "embedding", "text", "conversations", *(["view"] if source.manifest.views else [])]
    chunks = 0
    with contextlib.closing(writer), track("align", total=len(source), unit="row") as advance:
        for chunk, table in enumerate(source.tables(names, CHUNK_ROWS)):
            if not writer.has_chunk(chunk):
                ids = table.column("id").to_pylist()
                if source.manifest.views:  # an item's parts, which are items of the new store
                    numbers = table.column("view").to_pylist()
                    ids = [f"{identity}#{view}" if view else identity for identity, view in zip(ids, numbers)]
                rows = np.concatenate(list(matrices(table, source.dim))).astype(np.float64)
                texts, conversations = (table.column(name).to_pylist() for name in ("text", "conversations"))
                writer.write_chunk(chunk, ids, aligner.transform(rows), texts=texts, conversations=conversations)
                writer.join()
            chunks = chunk + 1
            advance(len(table))
        return writer.finish(chunks)
