"""Applies an aligner to a text store: a new store of aligned embeddings."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from .._common.progress import track
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
    ids, texts, conversations = (source.column(name) for name in ("id", "text", "conversations"))
    views = source.column("view") if source.manifest.views else None
    chunk, start = 0, 0
    with contextlib.closing(writer), track("align", total=len(source), unit="row") as advance:
        for block in source.blocks(CHUNK_ROWS):
            if not writer.has_chunk(chunk):
                part = [column.slice(start, len(block)).to_pylist() for column in (ids, texts, conversations)]
                if views is not None:  # an item's parts, which are items of the new store
                    numbers = views.slice(start, len(block)).to_pylist()
                    part[0] = [f"{identity}#{view}" if view else identity for identity, view in zip(part[0], numbers)]
                writer.write_chunk(
                    chunk, part[0], aligner.transform(block.astype(np.float64)), texts=part[1], conversations=part[2]
                )
            chunk, start = chunk + 1, start + len(block)
            advance(len(block))
        return writer.finish(chunk)
