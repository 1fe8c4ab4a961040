"""From a corpus to an embedding store: reads, encodes in chunks, resumes, shows progress."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .encoders import Encoder
from .errors import RevisionError
from .files import hash_file
from .inputs import ImageItem, TextItem, open_image, read_images, read_texts
from .progress import track
from .store import FAILURES, Store
from .store_writer import StoreWriter

logger = logging.getLogger(__name__)
CHUNK_ROWS = 4096
DECODE_THREADS = 4


def encode_texts(encoder: Encoder, corpus: Path, out: Path, *, dtype: str = "float16", batch_size: int = 256,
                 max_failures: int = 0) -> Store:  # fmt: skip
    """Encode every text of `corpus` (LLaVA JSON, JSONL, TXT, parquet) into the text store `out`.

    Raises RevisionError for an empty corpus, duplicate ids, or more unusable items than `max_failures`.
    """
    count = sum(1 for _ in read_texts(corpus))
    request = {"corpus": corpus.name, "corpus_hash": hash_file(corpus)}

    def encode(items: list[TextItem]) -> tuple[list[TextItem], np.ndarray, list[dict]]:
        usable = [item for item in items if item.problem is None]
        order = sorted(range(len(usable)), key=lambda i: len(usable[i].text))  # equal lengths waste no padding
        rows = np.empty((len(usable), encoder.dim), np.float32)
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            rows[part] = encoder.encode_texts([usable[i].text for i in part]).cpu().numpy()
        return usable, rows, [_failure(item.id, item.problem) for item in items if item.problem is not None]

    store = _run(encoder, read_texts(corpus), count, encode, out, "text", dtype, request, max_failures, str(corpus))
    if encoder.truncated:
        logger.warning("%d of %d texts were longer than the encoder's window and were cut", encoder.truncated, count)
    return store


def encode_images(encoder: Encoder, corpus: Path, out: Path, *, image_folder: Path | None = None,
                  dtype: str = "float16", batch_size: int = 64, max_failures: int = 0) -> Store:  # fmt: skip
    """Encode every image of a folder, or of a LLaVA JSON with `image_folder`, into the image store `out`.

    Raises RevisionError as `encode_texts` does, and for images that do not decode.
    """
    import torch

    count = sum(1 for _ in read_images(corpus, image_folder))
    request = {"corpus": corpus.name, "corpus_hash": hash_file(corpus) if corpus.is_file() else count}

    def load(item: ImageItem):
        if item.problem is not None:
            return item.problem
        try:
            return encoder.image_processor.preprocess(open_image(item.path))["pixel_values"][0]
        except RevisionError as error:
            return str(error)

    def encode(items: list[ImageItem]) -> tuple[list[ImageItem], np.ndarray, list[dict]]:
        usable, rows, failures = [], [], []
        with ThreadPoolExecutor(DECODE_THREADS) as pool:
            loaded = pool.map(load, items)
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
    if count == 0:
        raise RevisionError(f"{where}: holds no {modality}; nothing to encode")
    seen: set[str] = set()
    writer = StoreWriter(
        out, modality=modality, encoder=encoder.identity, dim=encoder.dim, dtype=dtype,
        request={**request, "chunk_rows": CHUNK_ROWS},
    )  # fmt: skip
    with contextlib.closing(writer):
        chunks = -(-count // CHUNK_ROWS)
        failures: list[dict] = []
        with track(f"encode {modality}s", total=count, unit="item") as advance:
            for index, chunk in enumerate(_batched(items, CHUNK_ROWS)):
                _require_new_ids(chunk, seen, where)
                if not writer.has_chunk(index):
                    usable, rows, failed = encode(chunk)
                    extra = {}
                    if modality == "text":
                        extra = {"texts": [i.text for i in usable], "conversations": [i.conversations for i in usable]}
                    writer.write_chunk(index, [item.id for item in usable], rows, failures=failed, **extra)
                advance(len(chunk))
                failures += writer.chunk_failures(index)
                if len(failures) > max_failures:
                    path = writer.write_failures(failures)
                    first = failures[0]
                    raise RevisionError(
                        f"{where}: {len(failures)} unusable item(s), first '{first['id']}': {first['reason']} "
                        f"(all in {path}); mend them, or allow them with --max-failures {len(failures)}"
                    )
        store = writer.finish(chunks)
    if failures:
        logger.warning("%d item(s) could not be encoded; they are listed in %s", len(failures), store.path / FAILURES)
    return store


def _require_new_ids(items: list, seen: set[str], where: str) -> None:
    for item in items:
        if item.id in seen:
            raise RevisionError(f"{where}: id '{item.id}' occurs more than once; ids must be unique")
        seen.add(item.id)
