"""From a corpus to an embedding store: reads, encodes in chunks, resumes, shows progress."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._common import distributed
from .._common.files import hash_file
from .._common.threads import prefetch
from ..corpora.image_views import ImageViews
from ..corpora.images import ImageItem, read_images
from ..corpora.pixels import open_image
from ..corpora.text_views import TextViews
from ..corpora.texts import TextItem, read_texts
from ..encoders import Encoder
from ..errors import RevisionError, first_line
from .encoding_run import EncodedChunk, EncodingRun, OnePart, batched
from .store import Store
from .writer import ROWS_PER_SHARD

logger = logging.getLogger(__name__)
CHUNK_ROWS = 4096
DECODE_THREADS = 4
PREFETCHED_BATCHES = 4


def encode_texts(
    encoder: Encoder,
    corpus: Path,
    out: Path,
    *,
    dtype: str = "float16",
    batch_size: int = 64,
    max_failures: int = 0,
    precision: str | None = None,
    views: TextViews | None = None,
    rows_per_shard: int = ROWS_PER_SHARD,
) -> Store:
    """Encode every text of `corpus` (LLaVA JSON, JSONL, TXT, parquet) into the text store `out`.

    `dtype` is that of the stored embeddings; `precision` the one the encoder was moved to, which a resumed run must
    repeat. With `views` a text has a row for the whole and one for each of its parts. The store has a file for about
    `rows_per_shard` rows.
    Raises RevisionError for an empty corpus, duplicate ids, or more unusable items than `max_failures`.
    """
    if corpus.is_dir():
        next(read_texts(corpus))  # which says that it is none
    request: dict[str, Any] = {"corpus": corpus.name, "corpus_hash": hash_file(corpus), "precision": precision}
    if views is not None:
        request["views"] = views.identity

    def encode(items: list[TextItem]) -> EncodedChunk:
        usable = [item for item in items if item.problem is None]
        numbers = None
        if views is not None:
            usable, numbers = _with_parts(usable, views)
        order = sorted(range(len(usable)), key=lambda i: len(usable[i].text))  # equal lengths waste no padding
        parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        rows, truncated = np.empty((len(usable), encoder.dim), np.float32), 0
        batches = ([usable[i].text for i in part] for part in parts)
        with prefetch(encoder.tokenize, batches, threads=1, most=PREFETCHED_BATCHES) as tokenized:
            for part, tokens in zip(parts, tokenized):
                rows[part] = encoder.encode_tokens(tokens).cpu().numpy()
                truncated += tokens.truncated
        failures = [_failure(item.id, item.problem) for item in items if item.problem is not None]
        return EncodedChunk(usable, rows, failures, truncated, numbers)

    return EncodingRun(
        encoder=encoder,
        corpus=OnePart(corpus.name, lambda: read_texts(corpus)),
        encode=encode,
        modality="text",
        where=str(corpus),
        chunk_rows=CHUNK_ROWS,
        rows_per_shard=rows_per_shard,
        max_failures=max_failures,
        views=None if views is None else str(views),
    ).run(out, dtype, request)


def encode_images(
    encoder: Encoder,
    corpus: Path,
    out: Path,
    *,
    image_folder: Path | None = None,
    dtype: str = "float16",
    batch_size: int = 64,
    max_failures: int = 0,
    precision: str | None = None,
    views: ImageViews | None = None,
    rows_per_shard: int = ROWS_PER_SHARD,
) -> Store:
    """Encode every image of a folder, or of a LLaVA JSON with `image_folder`, into the image store `out`.

    With `views` of several parts an image has a row for the whole and one for each of them.
    Raises RevisionError as `encode_texts` does, and for images that do not decode. A resumed run must find the same
    files, by name, size and time of change.
    """
    others: Counter[str] = Counter()
    count, files = _identify_images(corpus, image_folder, others)
    if others and distributed.rank() == 0:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        logger.info("%s: %d file(s) are no images and are passed over (%s)", corpus, others.total(), kinds)
    request = {
        "corpus": corpus.name,
        "corpus_hash": hash_file(corpus) if corpus.is_file() else None,
        "image_files": files,
        "precision": precision,
    }
    views = views or ImageViews()
    processor, spec = encoder.image_processor, None
    if views.count > 1:
        processor, spec = processor.with_views(views), str(views)
        request["views"] = spec
    images_at_a_time = max(1, batch_size // views.count)

    def load(item: ImageItem) -> torch.Tensor | str:
        if item.problem is not None:
            return item.problem
        try:
            return processor.preprocess(open_image(item.path))["pixel_values"][0]
        except RevisionError as error:
            return str(error)
        except (ValueError, TypeError, RuntimeError, MemoryError, ZeroDivisionError) as error:
            return f"{item.path}: the encoder's preprocessing does not take it ({first_line(error)[:100]})"

    def encode(items: list[ImageItem]) -> EncodedChunk:
        usable, rows, failures = [], [], []
        with prefetch(load, items, threads=DECODE_THREADS, most=2 * images_at_a_time) as loaded:
            for batch in batched(zip(items, loaded), images_at_a_time):
                good = [(item, pixels) for item, pixels in batch if not isinstance(pixels, str)]
                failures += [_failure(item.id, problem) for item, problem in batch if isinstance(problem, str)]
                if good:
                    usable += [item for item, _ in good for _ in range(views.count)]
                    pixels = torch.stack([pixels for _, pixels in good])
                    for part in pixels.flatten(0, -4).split(batch_size):  # views, where there are several, side by side
                        rows.append(encoder.encode_pixels(part).cpu().numpy())
        embeddings = np.concatenate(rows) if rows else np.empty((0, encoder.dim), np.float32)
        numbers = None if spec is None else [*range(views.count)] * (len(usable) // views.count)
        return EncodedChunk(usable, embeddings, failures, views=numbers)

    return EncodingRun(
        encoder=encoder,
        corpus=OnePart(corpus.name, lambda: read_images(corpus, image_folder)),
        encode=encode,
        modality="image",
        where=str(corpus),
        chunk_rows=CHUNK_ROWS,
        rows_per_shard=rows_per_shard,
        max_failures=max_failures,
        count=count,
        views=spec,
    ).run(out, dtype, request)


def _with_parts(items: list[TextItem], views: TextViews) -> tuple[list[TextItem], list[int]]:
    """Each text followed by its parts as texts of their own, and the number of each among its text's views."""
    split: list[TextItem] = []
    numbers: list[int] = []
    for item in items:
        parts = views.split(item.text)
        split += [item, *(replace(item, text=part, conversations=None) for part in parts)]
        numbers += range(1 + len(parts))
    return split, numbers


def _identify_images(corpus: Path, image_folder: Path | None, others: Counter[str]) -> tuple[int, str]:
    """How many images there are, and a hash of every file's id, size and time of change.

    Hashing contents would read the whole corpus twice; a picture that is written again has another time.
    """
    count, digest = 0, hashlib.sha256()
    for item in read_images(corpus, image_folder, others):
        stat = item.path.stat() if item.problem is None and item.path.is_file() else None
        state = (item.id, stat.st_size, stat.st_mtime_ns) if stat else (item.id, item.problem)
        digest.update(json.dumps(state).encode() + b"\n")
        count += 1
    return count, digest.hexdigest()


def _failure(identity: str, reason: str | None) -> dict:
    return {"id": identity, "reason": reason}
