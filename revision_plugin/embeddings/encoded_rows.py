"""Texts and images as rows that are encoded as they are read, and kept nowhere.

A pass over the rows is a pass of the encoder over the corpus. Items are encoded in the chunks and batches in which
`encode` encodes them, so a float32 store of the same corpus has the same rows.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from .._common import distributed
from .._common.files import hash_json
from .._common.threads import prefetch
from ..corpora.images import ImageItem
from ..corpora.inputs import Corpus, Names, open_images, open_texts
from ..encoders import Encoder
from ..errors import RevisionError
from .encode import CHUNK_ROWS
from .item_encoding import (
    DECODE_THREADS,
    ImageEncoding,
    ItemEncoding,
    TextEncoding,
    nothing_to_encode,
    pixels_or_problem,
)

logger = logging.getLogger(__name__)


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
        encoding: ItemEncoding,
        *,
        where: str,
        content_hash: str | None,
        max_failures: int = 0,
    ):
        self.dim, self.modality, self.where, self.content_hash = encoder.dim, encoding.modality, where, content_hash
        self.encoder_identity = encoder.identity
        self.passes, self.truncated = 0, 0  # begun so far; texts that the encoder's window cut
        self._encoder, self._read, self._encoding = encoder, read, encoding
        self._decodes = self.modality == "image" and max_failures > 0
        self._lock, self._cached = threading.RLock(), (-1, np.empty((0, self.dim), np.float32))
        self._items: Iterator = iter(())
        self._next, self._counted = 0, 0
        self._failed_ids: set[str] = set()
        self._size, self._failed = self._scan(max_failures)

    def __len__(self) -> int:
        return self._size - len(self._failed)

    def _scan(self, max_failures: int) -> tuple[int, np.ndarray]:
        """How many items there are, and which cannot be used."""
        failed: list[int] = []
        first, count = None, 0
        for identity, problem in self._problems():
            if problem is not None:
                first = first or (identity, problem)
                failed.append(count)
                self._failed_ids.add(identity)
            count += 1
        if count == 0:
            raise nothing_to_encode(self.where, self.modality)
        if first is not None and len(failed) > max_failures:
            raise RevisionError(
                f"{self.where}: {len(failed)} unusable item(s), first '{first[0]}': {first[1]}; mend them, or allow "
                f"them with --max-failures {len(failed)}"
            )
        if failed and distributed.rank() == 0:
            logger.warning("%s: %d item(s) cannot be encoded and are left out", self.where, len(failed))
        return count, np.array(failed, np.int64)

    def _problems(self) -> Iterator[tuple[str, str | None]]:
        """Of every item its id, and why it cannot be used."""
        if not self._decodes:
            yield from ((item.id, item.problem) for item in self._read())
            return
        processor = self._encoder.image_processor

        def problem_of(item: ImageItem) -> tuple[str, str | None]:
            pixels = pixels_or_problem(processor, item)
            return item.id, pixels if isinstance(pixels, str) else None

        with prefetch(problem_of, self._read(), threads=DECODE_THREADS, most=2 * DECODE_THREADS) as problems:
            yield from problems

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
            self._encoding,
            where=f"{self.where} (a sample)",
            content_hash=self.content_hash,
        )

    def _item_of(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of the items that are these rows."""
        return rows + np.searchsorted(self._failed - np.arange(len(self._failed)), rows, side="right")

    def _chunk_of(self, row: int) -> tuple[int, np.ndarray]:
        """The chunk that `row` is in: its first row's number, and its rows."""
        index = int(self._item_of(np.array([row]))[0]) // CHUNK_ROWS
        first = index * CHUNK_ROWS - int(np.searchsorted(self._failed, index * CHUNK_ROWS))
        if self._cached[0] != index:
            if self.passes == 0 or self._next > index:
                self.passes, self._next, self._items = self.passes + 1, 0, iter(self._read())
                if distributed.rank() == 0:
                    logger.info("%s: encoding pass %d over %d %ss", self.where, self.passes, len(self), self.modality)
            skipped = (index - self._next) * CHUNK_ROWS
            passed_over = sum(1 for _ in itertools.islice(self._items, skipped))
            expected = min(self._size - index * CHUNK_ROWS, CHUNK_ROWS)
            self._next = index + 1
            rows, count = self._encode(itertools.islice(self._items, CHUNK_ROWS))
            usable = expected - int(np.count_nonzero(self._failed // CHUNK_ROWS == index))
            if passed_over != skipped or count != expected or len(rows) != usable:
                raise RevisionError(f"{self.where}: has changed since the first pass over it; fit again")
            self._cached, self._counted = (index, rows), max(self._counted, index + 1)
        return first, self._cached[1]

    def _encode(self, items: Iterator) -> tuple[np.ndarray, int]:
        """The rows of one chunk's items, and how many items there were."""
        chunk = self._encoding.chunk(self._encoder, items)
        new = [each for each in chunk.failures if each["id"] not in self._failed_ids]
        if new and self.modality == "image" and not self._decodes:
            raise RevisionError(
                f"{self.where}: '{new[0]['id']}' cannot be used: {new[0]['reason']}; mend it, or allow unusable items "
                "with --max-failures"
            )
        self.truncated += chunk.truncated if self._next > self._counted else 0
        return chunk.embeddings, len(chunk.items) + len(chunk.failures)


def of_texts(encoder: Encoder, corpus: Names | Corpus, *, batch_size: int = 64, max_failures: int = 0) -> EncodedRows:
    """The texts of `corpus`, as `encode_texts` takes it, as rows. Raises RevisionError for one that cannot be read, is
    empty, or has more unusable items than `max_failures`.
    """
    corpus = corpus if isinstance(corpus, Corpus) else open_texts(corpus)
    return encoded(encoder, corpus, TextEncoding(batch_size), max_failures=max_failures)


def of_images(
    encoder: Encoder,
    corpus: Names | Corpus,
    *,
    image_folder: Path | None = None,
    batch_size: int = 64,
    max_failures: int = 0,
) -> EncodedRows:
    """The images of `corpus`, as `encode_images` takes it, as rows. Raises RevisionError as `of_texts` does."""
    corpus = corpus if isinstance(corpus, Corpus) else open_images(corpus, image_folder)
    return encoded(encoder, corpus, ImageEncoding(batch_size), max_failures=max_failures)


def encoded(encoder: Encoder, corpus: Corpus, encoding: ItemEncoding, *, max_failures: int = 0) -> EncodedRows:
    """The items of an open corpus as rows, encoded so. Raises RevisionError as `of_texts` does."""

    def read() -> Iterator:
        return itertools.chain.from_iterable(map(corpus.read, corpus.parts))

    content = hash_json(corpus.identity())
    return EncodedRows(encoder, read, encoding, where=corpus.where, content_hash=content, max_failures=max_failures)
