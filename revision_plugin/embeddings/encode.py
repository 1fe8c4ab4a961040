"""From a corpus to an embedding store: reads, encodes in chunks, resumes, shows progress."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._common import distributed
from .._common.progress import track
from .._common.threads import prefetch
from ..corpora.image_views import ImageViews
from ..corpora.images import ImageItem
from ..corpora.inputs import Corpus, Names, open_images, open_texts
from ..corpora.text_views import TextViews
from ..corpora.texts import TextItem
from ..encoders import Encoder
from ..errors import RevisionError, first_line
from .store import FAILURES, Store
from .writer import StoreWriter

logger = logging.getLogger(__name__)
CHUNK_ROWS = 4096
DECODE_THREADS = 4
PREFETCHED_BATCHES = 4


@dataclass(frozen=True)
class EncodedChunk:
    """The usable items of one chunk with their embeddings [n, dim], the others' reasons, how many texts were cut, and
    the number of each row's view, where items have several.
    """

    items: list
    embeddings: np.ndarray
    failures: list[dict]
    truncated: int = 0
    views: list[int] | None = None


def encode_texts(
    encoder: Encoder,
    corpus: Names | Corpus,
    out: Path,
    *,
    dtype: str = "float16",
    batch_size: int = 64,
    max_failures: int = 0,
    precision: str | None = None,
    views: TextViews | None = None,
) -> Store:
    """Encode every text of `corpus`, one that is open or what `open_texts` opens, into the text store `out`.

    `dtype` is that of the stored embeddings; `precision` the one the encoder was moved to, which a resumed run must
    repeat. With `views` a text has a row for the whole and one for each of its parts.
    Raises RevisionError for an empty corpus, duplicate ids, or more unusable items than `max_failures`.
    """
    corpus = corpus if isinstance(corpus, Corpus) else open_texts(corpus)
    count = sum(1 for _ in _items(corpus))
    request: dict[str, Any] = {**corpus.identity(), "precision": precision}
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

    spec = None if views is None else str(views)
    task = _Encoding(encoder, _items(corpus), count, encode, "text", max_failures, corpus.where, spec)
    return task.run(out, dtype, request)


def encode_images(
    encoder: Encoder,
    corpus: Names | Corpus,
    out: Path,
    *,
    image_folder: Path | None = None,
    dtype: str = "float16",
    batch_size: int = 64,
    max_failures: int = 0,
    precision: str | None = None,
    views: ImageViews | None = None,
) -> Store:
    """Encode every image of `corpus`, one that is open or what `open_images` opens, into the image store `out`.

    With `views` of several parts an image has a row for the whole and one for each of them.
    Raises RevisionError as `encode_texts` does, and for images that do not decode. A resumed run must find the same
    files, by name, size and time of change.
    """
    corpus = corpus if isinstance(corpus, Corpus) else open_images(corpus, image_folder)
    count = sum(1 for _ in _items(corpus))
    request: dict[str, Any] = {**corpus.identity(), "precision": precision}
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
            return processor.preprocess(item.open())["pixel_values"][0]
        except RevisionError as error:
            return str(error)
        except (ValueError, TypeError, RuntimeError, MemoryError, ZeroDivisionError) as error:
            return f"{item}: the encoder's preprocessing does not take it ({first_line(error)[:100]})"

    def encode(items: list[ImageItem]) -> EncodedChunk:
        usable, rows, failures = [], [], []
        with prefetch(load, items, threads=DECODE_THREADS, most=2 * images_at_a_time) as loaded:
            for batch in _batched(zip(items, loaded), images_at_a_time):
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

    task = _Encoding(encoder, _items(corpus), count, encode, "image", max_failures, corpus.where, spec)
    return task.run(out, dtype, request)


def _with_parts(items: list[TextItem], views: TextViews) -> tuple[list[TextItem], list[int]]:
    """Each text followed by its parts as texts of their own, and the number of each among its text's views."""
    split: list[TextItem] = []
    numbers: list[int] = []
    for item in items:
        parts = views.split(item.text)
        split += [item, *(replace(item, text=part, conversations=None) for part in parts)]
        numbers += range(1 + len(parts))
    return split, numbers


def _items(corpus: Corpus) -> Iterator:
    """The items of all parts, in their order."""
    return itertools.chain.from_iterable(map(corpus.read, corpus.parts))


def _failure(identity: str, reason: str | None) -> dict:
    return {"id": identity, "reason": reason}


def _batched(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


@dataclass
class _Encoding:
    """One run over a corpus: `encode` turns a chunk of `items` into embeddings; `where` names the corpus in
    messages, `views` the spec of an item's views where it has several.
    """

    encoder: Encoder
    items: Iterable
    count: int
    encode: Callable[[list], EncodedChunk]
    modality: str
    max_failures: int
    where: str
    views: str | None = None

    def run(self, out: Path, dtype: str, request: dict) -> Store:
        """Encode the chunks of this process (all of them without torchrun); publish the store when all are there."""
        if self.count == 0:
            raise RevisionError(f"{self.where}: holds no {self.modality}; nothing to encode")
        with distributed.together():
            writer = StoreWriter(
                out,
                modality=self.modality,
                encoder=self.encoder.identity,
                dim=self.encoder.dim,
                dtype=dtype,
                request={**request, "chunk_rows": CHUNK_ROWS},
                views=self.views,
                owner=distributed.rank() == 0,
            )
        with contextlib.closing(writer):
            chunks = -(-self.count // CHUNK_ROWS)
            with distributed.together():
                self._encode_chunks(writer)
            with distributed.together():  # all have read the chunks' marks before one of them publishes
                failures = self._allowed_failures(writer, chunks)
                truncated = writer.truncated(chunks)
            with distributed.together():
                if distributed.rank() == 0:
                    writer.finish(chunks)
        store = Store.open(out)
        if distributed.rank() == 0:
            if failures:
                logger.warning("%d item(s) could not be encoded; they are listed in %s", len(failures), out / FAILURES)
            if truncated:
                logger.warning(
                    "%d of %d %s were longer than the encoder's window and were cut",
                    *(truncated, len(store) if self.views else self.count),
                    "texts and parts" if self.views else "texts",
                )
        return store

    def _encode_chunks(self, writer: StoreWriter) -> None:
        rank, processes = distributed.rank(), distributed.world_size()
        seen: set[str] = set()
        failed_before = 0
        with track(f"encode {self.modality}s", total=self.count, unit="item", show=rank == 0) as advance:
            for index, chunk in enumerate(_batched(self.items, CHUNK_ROWS)):
                self._require_new_ids(chunk, seen)
                if index % processes == rank:
                    if not writer.has_chunk(index):
                        self._write_chunk(writer, index, self.encode(chunk))
                    failed_before += len(writer.chunk_failures(index))
                    if failed_before > self.max_failures:
                        self._allowed_failures(writer, index + 1)
                advance(len(chunk))

    def _write_chunk(self, writer: StoreWriter, index: int, encoded: EncodedChunk) -> None:
        columns: dict[str, Any] = {}
        if self.modality == "text":
            columns = {
                "texts": [item.text for item in encoded.items],
                "conversations": [item.conversations for item in encoded.items],
            }
        if encoded.views is not None:
            columns["views"] = encoded.views
        writer.write_chunk(
            index,
            [item.id for item in encoded.items],
            encoded.embeddings,
            failures=encoded.failures,
            truncated=encoded.truncated,
            **columns,
        )

    def _allowed_failures(self, writer: StoreWriter, chunks: int) -> list[dict]:
        """The failures of the first `chunks` chunks, in input order. Raises, and lists them, beyond the budget."""
        failures = writer.failures(chunks)
        if len(failures) > self.max_failures:
            path = writer.write_failures(failures)
            first = failures[0]
            raise RevisionError(
                f"{self.where}: {len(failures)} unusable item(s), first '{first['id']}': {first['reason']} "
                f"(all in {path}); mend them and delete {path.parent}, or allow them with "
                f"--max-failures {len(failures)}"
            )
        return failures

    def _require_new_ids(self, items: list, seen: set[str]) -> None:
        for item in items:
            if item.id in seen:
                raise RevisionError(f"{self.where}: id '{item.id}' occurs more than once; ids must be unique")
            seen.add(item.id)
