"""Texts and images of one chunk into rows: tokenized or decoded beside the encoder, batch after batch."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from .._common.threads import prefetch
from ..corpora.image_views import ImageViews
from ..corpora.images import ImageItem
from ..corpora.text_views import TextViews
from ..corpora.texts import TextItem
from ..encoders import Encoder
from ..encoders.base import ImageProcessor
from ..errors import RevisionError, first_line

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


class ChunkItems:
    """The items of one chunk as they are read, once, and how many have been."""

    def __init__(self, items: Iterator):
        self._items, self.count = items, 0

    def __iter__(self) -> ChunkItems:
        return self

    def __next__(self):
        item = next(self._items)
        self.count += 1
        return item


def chunks(items: Iterable, size: int) -> Iterator[ChunkItems]:
    """Items in chunks of `size`, the last of which may be shorter. What was not read of one is passed over."""
    iterator = iter(items)
    for head in iterator:
        chunk = ChunkItems(itertools.chain([head], itertools.islice(iterator, size - 1)))
        yield chunk
        for _ in chunk:
            pass


def nothing_to_encode(where: str, modality: str) -> RevisionError:
    """What is raised for an empty corpus."""
    return RevisionError(f"{where}: holds no {modality}; nothing to encode")


@dataclass(frozen=True)
class ItemEncoding(ABC):
    """How items of one modality become rows, `batch_size` at a time. Can be pickled."""

    modality = ""
    batch_size: int = 64

    @property
    @abstractmethod
    def view_spec(self) -> str | None:
        """The spec of an item's views, where it has several."""

    @property
    def request(self) -> dict[str, Any]:
        """What the content of a store depends on beside the corpus and the encoder."""
        return {}

    @abstractmethod
    def chunk(self, encoder: Encoder, items: Iterable) -> EncodedChunk:
        """All `items` of a chunk, which are read once and not kept longer than they are needed."""


@dataclass(frozen=True)
class TextEncoding(ItemEncoding):
    """Texts; with `views` a text has a row for the whole and one for each of its parts."""

    modality = "text"
    views: TextViews | None = None

    @property
    def view_spec(self) -> str | None:
        return None if self.views is None else str(self.views)

    @property
    def request(self) -> dict[str, Any]:
        return {} if self.views is None else {"views": self.views.identity}

    def chunk(self, encoder: Encoder, items: Iterable[TextItem]) -> EncodedChunk:
        items = list(items)
        usable = [item for item in items if item.problem is None]
        numbers = None
        if self.views is not None:
            usable, numbers = _with_parts(usable, self.views)
        order = sorted(range(len(usable)), key=lambda i: len(usable[i].text))  # equal lengths waste no padding
        parts = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        rows, truncated = np.empty((len(usable), encoder.dim), np.float32), 0
        batches = ([usable[i].text for i in part] for part in parts)
        with prefetch(encoder.tokenize, batches, threads=1, most=PREFETCHED_BATCHES) as tokenized:
            for part, tokens in zip(parts, tokenized):
                rows[part] = encoder.encode_tokens(tokens).cpu().numpy()
                truncated += tokens.truncated
        failures = [_failure(item, item.problem) for item in items if item.problem is not None]
        return EncodedChunk(usable, rows, failures, truncated, numbers)


@dataclass(frozen=True)
class ImageEncoding(ItemEncoding):
    """Images; with `views` of several parts an image has a row for the whole and one for each of them."""

    modality = "image"
    views: ImageViews = ImageViews()

    @property
    def view_spec(self) -> str | None:
        return None if self.views.count == 1 else str(self.views)

    @property
    def request(self) -> dict[str, Any]:
        return {} if self.view_spec is None else {"views": self.view_spec}

    def chunk(self, encoder: Encoder, items: Iterable[ImageItem]) -> EncodedChunk:
        count = self.views.count
        processor = encoder.image_processor if count == 1 else encoder.image_processor.with_views(self.views)

        def load(item: ImageItem) -> tuple[ImageItem, torch.Tensor | str]:
            return replace(item, data=None), pixels_or_problem(processor, item)

        usable, rows, failures = [], [], []
        images_at_a_time = max(1, self.batch_size // count)
        with prefetch(load, items, threads=DECODE_THREADS, most=2 * images_at_a_time) as loaded:
            for batch in _batched(loaded, images_at_a_time):
                failures += [_failure(item, problem) for item, problem in batch if isinstance(problem, str)]
                good = [(item, pixels) for item, pixels in batch if not isinstance(pixels, str)]
                if good:
                    usable += [item for item, _ in good for _ in range(count)]
                    pixels = torch.stack([pixels for _, pixels in good])
                    for part in pixels.flatten(0, -4).split(self.batch_size):  # views, of which there are several
                        rows.append(encoder.encode_pixels(part).cpu().numpy())
        embeddings = np.concatenate(rows) if rows else np.empty((0, encoder.dim), np.float32)
        numbers = None if self.view_spec is None else [*range(count)] * (len(usable) // count)
        return EncodedChunk(usable, embeddings, failures, views=numbers)


def pixels_or_problem(processor: ImageProcessor, item: ImageItem) -> torch.Tensor | str:
    """An image as the encoder takes it, or why it cannot be had."""
    if item.problem is not None:
        return item.problem
    try:
        return processor.preprocess(item.open())["pixel_values"][0]
    except RevisionError as error:
        return str(error)
    except (ValueError, TypeError, RuntimeError, MemoryError, ZeroDivisionError) as error:
        return f"{item}: the encoder's preprocessing does not take it ({first_line(error)[:100]})"


def _with_parts(items: list[TextItem], views: TextViews) -> tuple[list[TextItem], list[int]]:
    """Each text followed by its parts as texts of their own, and the number of each among its text's views."""
    split: list[TextItem] = []
    numbers: list[int] = []
    for item in items:
        parts = views.split(item.text)
        split += [item, *(replace(item, text=part, conversations=None) for part in parts)]
        numbers += range(1 + len(parts))
    return split, numbers


def _batched(items: Iterable, size: int) -> Iterator[list]:
    """Items in lists of `size`, the last of which may be shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _failure(item: TextItem | ImageItem, reason: str | None) -> dict:
    return {"id": item.id, "reason": reason}
