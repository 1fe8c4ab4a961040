"""Texts and images as rows that are encoded as they are read, and kept nowhere.

A pass over the rows is a pass of the encoder over the corpus. Items are encoded in the chunks and batches in which
`encode` encodes them, so a float32 store of the same corpus has the same rows.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from .._common import distributed
from .._common.files import hash_file
from .._common.threads import prefetch
from ..corpora.images import ImageItem, read_images
from ..corpora.pixels import open_image
from ..corpora.texts import TextItem, read_texts
from ..encoders import Encoder
from ..errors import RevisionError, first_line

logger = logging.getLogger(__name__)
CHUNK_ITEMS = 4096
DECODE_THREADS = 4
TOKENIZED_BATCHES = 4
MODALITIES = {"text": "texts", "image": "images"}


class EncodedRows:
    """The usable items of a corpus as float32 unit-norm embeddings [N, dim]. Make one with `of_texts` or `of_images`.

    Rows are made in order: `blocks` goes on where it stopped, and a chunk that lies before begins a new pass. An item
    that cannot be used is no row; more of them than `max_failures` raise RevisionError, as does an empty corpus. Images
    must be decoded to know: with a budget all are decoded once before the first pass, without one the first that does
    not decode raises when it is reached.
    """

    in_order = True  # one thread reads, and the encoder has the others

    def __init__(
        self,
        encoder: Encoder,
        read: Callable[[], Iterable],
        *,
        modality: str,
        where: str,
        content_hash: str | None,
        batch_size: int = 64,
        max_failures: int = 0,
    ):
        self.dim, self.modality, self.where, self.content_hash = encoder.dim, modality, where, content_hash
        self.encoder_identity = encoder.identity
        self.passes, self.truncated = 0, 0  # begun so far; texts that the encoder's window cut
        self._encoder, self._read, self._batch_size = encoder, read, batch_size
        self._decodes = modality == "image" and max_failures > 0
        self._lock, self._cached = threading.RLock(), (-1, np.empty((0, self.dim), np.float32))
        self._items: Iterator[list] = iter(())
        self._next, self._counted = 0, 0
        self._size, self._failed = self._scan(max_failures)

    def __len__(self) -> int:
        return self._size - len(self._failed)

    def _scan(self, max_failures: int) -> tuple[int, np.ndarray]:
        """How many items there are, and which cannot be used."""
        failed: list[int] = []
        first, count = None, 0
        for chunk in _batched(self._read(), CHUNK_ITEMS):
            problems: Iterable = (item.problem for item in chunk)
            if self._decodes:
                with prefetch(self._load, chunk, threads=DECODE_THREADS, most=2 * DECODE_THREADS) as loaded:
                    problems = [each if isinstance(each, str) else None for each in loaded]
            for item, problem in zip(chunk, problems):
                if problem is not None:
                    first = first or (item.id, problem)
                    failed.append(count)
                count += 1
        if count == 0:
            raise RevisionError(f"{self.where}: holds no {self.modality}; nothing to encode")
        if first is not None and len(failed) > max_failures:
            raise RevisionError(
                f"{self.where}: {len(failed)} unusable item(s), first '{first[0]}': {first[1]}; mend them, or allow "
                f"them with --max-failures {len(failed)}"
            )
        if failed and distributed.rank() == 0:
            logger.warning("%s: %d item(s) cannot be encoded and are left out", self.where, len(failed))
        return count, np.array(failed, np.int64)

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """As `Rows` has it. Raises RevisionError for an item that cannot be used, and for a corpus that changed."""
        stop = len(self) if stop is None else min(stop, len(self))
        while start < stop:
            with self._lock:
                first, chunk = self._chunk_of(start)
            part = chunk[start - first : stop - first]
            for at in range(0, len(part), rows):
                yield part[at : at + rows]
            start += len(part)

    def subset(self, positions: np.ndarray) -> EncodedRows:
        """The rows at `positions`, in their order; their items are kept in memory, and no others are encoded."""
        wanted = iter(np.sort(self._item_of(positions)).tolist())
        chosen, following = [], next(wanted, None)
        for number, item in enumerate(self._read()):
            if number == following:
                chosen.append(item)
                following = next(wanted, None)
            if following is None:
                break
        return EncodedRows(
            self._encoder,
            lambda: chosen,
            modality=self.modality,
            where=f"{self.where} (a sample)",
            content_hash=self.content_hash,
            batch_size=self._batch_size,
        )

    def _item_of(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of the items that are these rows."""
        return rows + np.searchsorted(self._failed - np.arange(len(self._failed)), rows, side="right")

    def _chunk_of(self, row: int) -> tuple[int, np.ndarray]:
        """The chunk that `row` is in: its first row's number, and its rows."""
        index = int(self._item_of(np.array([row]))[0]) // CHUNK_ITEMS
        first = index * CHUNK_ITEMS - int(np.searchsorted(self._failed, index * CHUNK_ITEMS))
        if self._cached[0] != index:
            if self.passes == 0 or self._next > index:
                self.passes, self._next, self._items = self.passes + 1, 0, _batched(self._read(), CHUNK_ITEMS)
                if distributed.rank() == 0:
                    logger.info("%s: encoding pass %d over %d %ss", self.where, self.passes, len(self), self.modality)
            chunk: list | None = None
            while self._next <= index:
                chunk = next(self._items, None)
                self._next += 1
            expected = min(self._size - index * CHUNK_ITEMS, CHUNK_ITEMS)
            if chunk is None or len(chunk) != expected:
                raise RevisionError(f"{self.where}: has changed since the first pass over it; fit again")
            rows = self._encode_texts(chunk) if self.modality == "text" else self._encode_images(chunk)
            usable = expected - int(np.count_nonzero(self._failed // CHUNK_ITEMS == index))
            if len(rows) != usable:
                raise RevisionError(f"{self.where}: has changed since the first pass over it; fit again")
            self._cached, self._counted = (index, rows), max(self._counted, index + 1)
        return first, self._cached[1]

    def _encode_texts(self, items: list[TextItem]) -> np.ndarray:
        texts = [item.text for item in items if item.problem is None]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # equal lengths waste no padding
        parts = [order[at : at + self._batch_size] for at in range(0, len(order), self._batch_size)]
        rows, is_new = np.empty((len(texts), self.dim), np.float32), self._next > self._counted
        batches = ([texts[i] for i in part] for part in parts)
        with prefetch(self._encoder.tokenize, batches, threads=1, most=TOKENIZED_BATCHES) as tokenized:
            for part, tokens in zip(parts, tokenized):
                rows[part] = self._encoder.encode_tokens(tokens).cpu().numpy()
                self.truncated += tokens.truncated if is_new else 0
        return rows

    def _encode_images(self, items: list[ImageItem]) -> np.ndarray:
        rows = [np.empty((0, self.dim), np.float32)]
        with prefetch(self._load, items, threads=DECODE_THREADS, most=2 * self._batch_size) as loaded:
            for batch in _batched(zip(items, loaded), self._batch_size):
                unusable = [(item, pixels) for item, pixels in batch if isinstance(pixels, str)]
                if unusable and not self._decodes and any(item.problem is None for item, _ in unusable):
                    item, problem = next(each for each in unusable if each[0].problem is None)
                    raise RevisionError(
                        f"{self.where}: '{item.id}' cannot be used: {problem}; mend it, or allow unusable items with "
                        "--max-failures"
                    )
                good = [pixels for _, pixels in batch if not isinstance(pixels, str)]
                if good:
                    rows.append(self._encoder.encode_pixels(torch.stack(good)).cpu().numpy())
        return np.concatenate(rows)

    def _load(self, item: ImageItem) -> torch.Tensor | str:
        """An image's pixels, or why it has none."""
        if item.problem is not None:
            return item.problem
        try:
            return self._encoder.image_processor.preprocess(open_image(item.path))["pixel_values"][0]
        except RevisionError as error:
            return str(error)
        except (ValueError, TypeError, RuntimeError, MemoryError, ZeroDivisionError) as error:
            return f"{item.path}: the encoder's preprocessing does not take it ({first_line(error)[:100]})"


def of_texts(encoder: Encoder, corpus: Path, *, batch_size: int = 64, max_failures: int = 0) -> EncodedRows:
    """The texts of `corpus` as rows. Raises RevisionError for one that cannot be read, is empty, or has more unusable
    items than `max_failures`.
    """
    return EncodedRows(
        encoder,
        lambda: read_texts(corpus),
        modality="text",
        where=str(corpus),
        content_hash=hash_file(corpus),
        batch_size=batch_size,
        max_failures=max_failures,
    )


def of_images(
    encoder: Encoder,
    corpus: Path,
    *,
    image_folder: Path | None = None,
    batch_size: int = 64,
    max_failures: int = 0,
) -> EncodedRows:
    """The images of a folder, or of a JSON with `image_folder`, as rows. Raises RevisionError as `of_texts` does."""
    digest = hashlib.sha256()
    for item in read_images(corpus, image_folder):
        there = item.problem is None and item.path.is_file()
        digest.update(json.dumps([item.id, item.path.stat().st_size if there else item.problem]).encode() + b"\n")
    return EncodedRows(
        encoder,
        lambda: read_images(corpus, image_folder),
        modality="image",
        where=str(corpus),
        content_hash=digest.hexdigest(),
        batch_size=batch_size,
        max_failures=max_failures,
    )


def _batched(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
