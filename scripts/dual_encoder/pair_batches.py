"""Pairs of an image and a caption, in an order that depends on the seed and the step alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from revision_plugin.corpora.images import read_images
from revision_plugin.corpora.pixels import open_image
from revision_plugin.corpora.texts import read_texts
from revision_plugin.errors import RevisionError


@dataclass(frozen=True)
class Pair:
    """One pair on disk."""

    id: str
    image: Path
    caption: str


def read_pairs(corpus: Path, image_folder: Path) -> list[Pair]:
    """All pairs of a LLaVA JSON or JSONL. Raises RevisionError for a record without an image or a caption."""
    pairs = []
    for text, image in zip(read_texts(corpus), read_images(corpus, image_folder), strict=True):
        problem = text.problem or image.problem or (None if image.path.is_file() else f"{image.path}: no such file")
        if problem:
            raise RevisionError(f"{corpus}: record '{text.id}': {problem}")
        pairs.append(Pair(text.id, image.path, text.text))
    return pairs


class PairImages:
    """A map-style dataset over `pairs`: (pixels [3, H, W], caption); random augmentation depends on seed and
    position.
    """

    def __init__(self, pairs: list[Pair], transform: Callable, seed: int):
        self.pairs, self.transform, self.seed = pairs, transform, seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[int, int]):
        draw, index = key
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash((self.seed, draw)))
            return self.transform(open_image(self.pairs[index].image)), self.pairs[index].caption


class Batches:
    """A batch sampler from `start` to `steps`: the keys of this process' share of each global batch.

    A new random order for every pass over the data; what is left of a pass opens the next batch.
    """

    def __init__(self, count: int, batch: int, *, seed: int, start: int, steps: int, rank: int = 0, processes: int = 1):
        if batch % processes:
            raise RevisionError(f"a batch of {batch} pairs cannot be shared by {processes} processes alike")
        if count < batch:
            raise RevisionError(f"a batch of {batch} pairs needs as many to train on, there are {count}")
        self.count, self.batch, self.seed = count, batch, seed
        self.start, self.steps, self.rank, self.processes = start, steps, rank, processes

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        local_batch = self.batch // self.processes
        for step in range(self.start, self.steps):
            first = step * self.batch + self.rank * local_batch
            yield [(draw, self._pair(draw)) for draw in range(first, first + local_batch)]

    def _pair(self, draw: int) -> int:
        passed, place = divmod(draw, self.count)
        return int(_order(self.count, self.seed, passed)[place])


@functools.lru_cache(maxsize=1)
def _order(count: int, seed: int, passed: int):
    """The pairs' order [count] in one pass over them."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(hash((seed, passed))))
