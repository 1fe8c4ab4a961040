"""A corpus whose embeddings are summed by the workers of an engine and kept nowhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._common.devices import choose_device
from .._common.engines import PIECES_A_WORKER, Engine, Piece, Work
from .._common.files import hash_json
from .._common.progress import track
from ..corpora.inputs import Corpus
from ..encoders import Encoder
from ..errors import RevisionError
from .encode import CHUNK_ROWS
from .encoding_run import EncoderElsewhere, loaded
from .item_encoding import ItemEncoding, chunks, nothing_to_encode
from .moments import Moments, stream_moments
from .rows import ArrayRows


class SummedCorpus:
    """The usable items of a corpus as unit-norm rows of which only moments can be had, a pass of the encoder each.

    The first pass is made at once, and gives the number of rows; the sums of the pieces are added in the corpus's
    order, so they do not depend on the number of workers. Raises RevisionError for a corpus that is empty or has more
    unusable items than `max_failures`.
    """

    def __init__(
        self, workers: Engine, encoder: Encoder, corpus: Corpus, encoding: ItemEncoding, *, max_failures: int = 0
    ):
        self.dim, self.modality, self.where = encoder.dim, encoding.modality, corpus.where
        self.encoder_identity, self.content_hash = encoder.identity, hash_json(corpus.identity())
        self.passes, self.truncated = 0, 0
        self._workers, self._corpus, self._encoding, self._max_failures = workers, corpus, encoding, max_failures
        self._elsewhere, self._step = (
            EncoderElsewhere.of(encoder),
            -(-PIECES_A_WORKER * workers.workers // len(corpus.parts)),
        )
        self._plain = self._sum(None, False)

    def __len__(self) -> int:
        return self._plain.count

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Raises RevisionError: its rows are kept nowhere."""
        raise RevisionError(f"{self.where}: this needs the rows themselves; encode both corpora and fit on the stores")

    def known_moments(self, transform: Any, covariance: bool) -> Moments:
        """Moments of the rows, as `stream_moments` has them."""
        return self._plain if transform is None and not covariance else self._sum(transform, covariance)

    def _sum(self, transform: Any, covariance: bool) -> Moments:
        work = _Summing(
            corpus=self._corpus,
            encoding=self._encoding,
            encoder=self._elsewhere,
            step=self._step,
            transform=transform,
            covariance=covariance,
        )
        parts = len(self._corpus.parts)
        moments, failures, self.truncated = Moments.empty(self.dim, covariance=covariance), 0, 0
        with track(f"encode {self.modality}s", total=self._corpus.count(), unit="item") as advance:
            for result in self._workers.map(work, list(itertools.product(range(parts), range(self._step)))):
                failed, truncated = int(result[0]), int(result[1])
                failures, self.truncated = failures + failed, self.truncated + truncated
                if failures > self._max_failures:
                    raise RevisionError(
                        f"{self.where}: {failures} unusable item(s); 'revision encode' lists them; mend them, or allow "
                        "them with --max-failures"
                    )
                part = Moments.from_flat(result[2:], self.dim)
                moments.add(part)
                advance(part.count + failed)
        if moments.count == 0:
            raise nothing_to_encode(self.where, self.modality)
        if self.passes and moments.count != self._plain.count:
            raise RevisionError(f"{self.where}: has changed since the first pass over it; fit again")
        self.passes += 1
        return moments


@dataclass(frozen=True)
class _Summing:
    """What a worker does with a piece (part, first): of that part the chunks `first`, `first + step`, ..., summed."""

    corpus: Corpus
    encoding: ItemEncoding
    encoder: EncoderElsewhere
    step: int
    transform: Any
    covariance: bool

    def __call__(self) -> Work:
        encoder = loaded(self.encoder)
        settings: dict[str, Any] = dict(
            covariance=self.covariance, transform=self.transform, device=choose_device(None)
        )

        def work(piece: Piece) -> np.ndarray:
            part, first = piece
            moments, counts = Moments.empty(encoder.dim, covariance=self.covariance), np.zeros(2)
            for chunk, items in enumerate(chunks(self.corpus.read(self.corpus.parts[part]), CHUNK_ROWS)):
                if chunk % self.step == first:
                    encoded = self.encoding.chunk(encoder, items)
                    counts += len(encoded.failures), encoded.truncated
                    if len(encoded.embeddings):
                        moments.add(stream_moments(ArrayRows(encoded.embeddings), **settings))
            return np.concatenate([counts, moments.flat()])

        return work
