"""Rows as training sees them where an aligner adds noise: the same for one seed, however they are read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..embeddings.rows import Rows

if TYPE_CHECKING:
    from .base import Aligner

CHUNK = 1024  # rows whose noise is drawn as one
_DRAWING = threading.Lock()  # torch's generator is one for all threads


class NoisyRows:
    """`rows` mapped by `aligner` with the noise that it adds in training, float64 [N, d] of unit norm.

    A chunk of rows has a seed of its own, so neither the blocks that are read nor the number of threads and processes
    changes a row's noise; torch's generator is left as it was.
    """

    def __init__(self, rows: Rows, aligner: Aligner, seed: int):
        self._rows, self._aligner, self._seed, self.dim = rows, aligner, seed, rows.dim
        self.in_order = getattr(rows, "in_order", False)

    def __len__(self) -> int:
        return len(self._rows)

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        stop = len(self) if stop is None else min(stop, len(self))
        for chunk in range(start // CHUNK, -(-stop // CHUNK)):
            first = chunk * CHUNK
            mapped = self._chunk(chunk)[max(0, start - first) : stop - first]
            for at in range(0, len(mapped), rows):
                yield mapped[at : at + rows]

    def _chunk(self, chunk: int) -> np.ndarray:
        first = chunk * CHUNK
        parts = list(self._rows.blocks(CHUNK, first, min(first + CHUNK, len(self))))
        x = torch.from_numpy(np.concatenate(parts).astype(np.float64))
        seed = int(np.random.SeedSequence([self._seed, chunk]).generate_state(1, np.uint64)[0] >> 1)
        with _DRAWING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._aligner(x, training=True).numpy()
