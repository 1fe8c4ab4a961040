"""From a corpus to an embedding store: reads, encodes in chunks, resumes, shows progress."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from .._common import distributed
from .._common.files import hash_file
from .._common.progress import track
from .._common.threads import ahead
from ..corpora.texts import ImageItem, TextItem, open_image, read_images, read_texts
from ..encoders import Encoder
from ..errors import RevisionError
from .store import FAILURES, Store
from .writer import StoreWriter

logger = logging.getLogger(__name__)
CHUNK_ROWS = 4096
DECODE_THREADS = 4
TOKENIZED_AHEAD = 4  # batches


def encode_texts(encoder: Encoder, corpus: Path, out: Path, *, dtype: str = "float16", batch_size: int = 256,
                 max_failures: int = 0, precision: str | None = None) -> Store:  # fmt: skip
    """Encode every text of `corpus` (LLaVA JSON, JSONL, TXT, parquet) into the text store `out`.

    `precision` is the one the encoder was moved to; a resumed run must have the same.
    Raises RevisionError for an empty corpus, duplicate ids, or more unusable items than `max_failures`.
    """
    count = sum(1 for _ in read_texts(corpus))
    request = {"corpus": corpus.name, "corpus_hash": hash_file(corpus), "precision": precision}

    def encode(items: list[TextItem]) -> tuple[list[TextItem], np.ndarray, list[dict]]:
        usable = [item for item in items if item.problem is None]
        order = sorted(range(len(usable)), key=lambda i: len(usable[i].text))  # equal lengths waste no padding
        parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        rows = np.empty((len(usable), encoder.dim), np.float32)
        batches = ([usable[i].text for i in part] for part in parts)
        with ahead(encoder.tokenize, batches, threads=1, most=TOKENIZED_AHEAD) as tokenized:
            for part, tokens in zip(parts, tokenized):
                rows[part] = encoder.encode_tokens(tokens).cpu().numpy()
        return usable, rows, [_failure(item.id, item.problem) for item in items if item.problem is not None]

    store = _run(encoder, read_texts(corpus), count, encode, out, "text", dtype, request, max_failures, str(corpus))
    if encoder.truncated:
        logger.warning("%d of %d texts were longer than the encoder's window and were cut", encoder.truncated, count)
    return store


def encode_images(encoder: Encoder, corpus: Path, out: Path, *, image_folder: Path | None = None,
                  dtype: str = "float16", batch_size: int = 64, max_failures: int = 0,
                  precision: str | None = None) -> Store:  # fmt: skip
    """Encode every image of a folder, or of a LLaVA JSON with `image_folder`, into the image store `out`.

    Raises RevisionError as `encode_texts` does, and for images that do not decode.
    """
    import torch

    count = sum(1 for _ in read_images(corpus, image_folder))
    request = {
        "corpus": corpus.name,
        "corpus_hash": hash_file(corpus) if corpus.is_file() else count,
        "precision": precision,
    }

    def load(item: ImageItem):
        if item.problem is not None:
            return item.problem
        try:
            return encoder.image_processor.preprocess(open_image(item.path))["pixel_values"][0]
        except RevisionError as error:
            return str(error)

    def encode(items: list[ImageItem]) -> tuple[list[ImageItem], np.ndarray, list[dict]]:
        usable, rows, failures = [], [], []
        with ahead(load, items, threads=DECODE_THREADS, most=2 * batch_size) as loaded:
            for batch in _batched(zip(items, loaded), batch_size):
                good = [(item, pixels) for item, pixels in batch if not isinstance(pixels, str)]
                failures += [_failure(item.id, problem) for item, problem in batch if isinstance(problem, str)]
                if good:
                    usable += [item for item, _ in good]
                    rows.append(encoder.encode_pixels(torch.stack([pixels for _, pixels in good])).cpu().numpy())
        return usable, np.concatenate(rows) if rows else np.empty((0, encoder.dim), np.float32), failures

    items = read_images(corpus, image_folder)
    return _run(encoder, items, count, encode, out, "image", dtype, request, max_failures, str(corpus))


def _failure(identity: str, reason: str | None) -> dict:
    return {"id": identity, "reason": reason}


def _batched(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _run(encoder: Encoder, items: Iterable, count: int, encode: Callable, out: Path, modality: str, dtype: str,
         request: dict, max_failures: int, where: str) -> Store:  # fmt: skip
    """Encode the chunks of this process (all of them without torchrun) and publish the store when all are there."""
    if count == 0:
        raise RevisionError(f"{where}: holds no {modality}; nothing to encode")
    with distributed.together():
        writer = StoreWriter(
            out, modality=modality, encoder=encoder.identity, dim=encoder.dim, dtype=dtype,
            request={**request, "chunk_rows": CHUNK_ROWS}, owner=distributed.rank() == 0,
        )  # fmt: skip
    with contextlib.closing(writer):
        chunks = -(-count // CHUNK_ROWS)
        with distributed.together():
            _encode_chunks(writer, items, count, encode, modality, max_failures, where)
        failures = _allowed_failures(writer, chunks, max_failures, where)
        with distributed.together():
            if distributed.rank() == 0:
                writer.finish(chunks)
    if failures and distributed.rank() == 0:
        logger.warning("%d item(s) could not be encoded; they are listed in %s", len(failures), out / FAILURES)
    return Store.open(out)


def _encode_chunks(writer: StoreWriter, items: Iterable, count: int, encode: Callable, modality: str, max_failures: int,
                   where: str) -> None:  # fmt: skip
    rank, processes = distributed.rank(), distributed.world_size()
    seen: set[str] = set()
    failed_before = 0
    with track(f"encode {modality}s", total=count, unit="item", show=rank == 0) as advance:
        for index, chunk in enumerate(_batched(items, CHUNK_ROWS)):
            _require_new_ids(chunk, seen, where)
            if index % processes == rank:
                if not writer.has_chunk(index):
                    usable, rows, failed = encode(chunk)
                    extra = {}
                    if modality == "text":
                        extra = {"texts": [i.text for i in usable], "conversations": [i.conversations for i in usable]}
                    writer.write_chunk(index, [item.id for item in usable], rows, failures=failed, **extra)
                failed_before += len(writer.chunk_failures(index))
                if failed_before > max_failures:
                    _allowed_failures(writer, index + 1, max_failures, where)
            advance(len(chunk))


def _allowed_failures(writer: StoreWriter, chunks: int, max_failures: int, where: str) -> list[dict]:
    """The failures of the first `chunks` chunks, in input order. Raises RevisionError, and lists them, beyond the budget."""
    failures = writer.failures(chunks)
    if len(failures) > max_failures:
        path = writer.write_failures(failures)
        first = failures[0]
        raise RevisionError(
            f"{where}: {len(failures)} unusable item(s), first '{first['id']}': {first['reason']} "
            f"(all in {path}); mend them, or allow them with --max-failures {len(failures)}"
        )
    return failures


def _require_new_ids(items: list, seen: set[str], where: str) -> None:
    for item in items:
        if item.id in seen:
            raise RevisionError(f"{where}: id '{item.id}' occurs more than once; ids must be unique")
        seen.add(item.id)
