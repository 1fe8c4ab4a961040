"""One run of an encoder over a corpus: its chunks, shared among processes and resumed, and the store they make."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._common import distributed
from .._common.devices import choose_device
from .._common.engines import PIECES_A_WORKER, Engine, Piece, Work, engine
from .._common.progress import track
from .._common.trackers import Rate, Tracker
from ..corpora.inputs import Corpus
from ..encoders import Encoder, Identity, load_encoder, require_same
from ..encoders.remote_code import allow_remote_code, is_remote_code_allowed
from ..errors import RevisionError
from .item_encoding import EncodedChunk, ItemEncoding, chunks, nothing_to_encode
from .store import FAILURES, Store
from .writer import StoreWriter

logger = logging.getLogger(__name__)
IDS_REMEMBERED = 1_000_000  # of a process, to name an id that occurs twice while it reads; publishing checks all


@dataclass
class EncodingRun:
    """One run over `corpus`: `encoding` turns a chunk of at most `chunk_rows` items into embeddings.

    The work is cut into pieces (part, first, step): of a part of the corpus the chunks `first`, `first + step`, ...
    """

    encoder: Encoder
    corpus: Corpus
    encoding: ItemEncoding
    chunk_rows: int
    rows_per_shard: int
    max_failures: int = 0
    tracker: Tracker | None = None

    def run(self, out: Path | str, dtype: str, request: dict) -> Store:
        """Encode the chunks of this process (all of them without torchrun), or all on the engine; publish the store
        when all are there.
        """
        settings: dict[str, Any] = dict(
            modality=self.encoding.modality,
            encoder=self.encoder.identity,
            dim=self.encoder.dim,
            dtype=dtype,
            request={**request, "chunk_rows": self.chunk_rows},
            views=self.encoding.view_spec,
            parts=len(self.corpus.parts),
            rows_per_shard=self.rows_per_shard,
        )
        rank = distributed.rank()
        with distributed.together():
            writer = StoreWriter(out, **settings, owner=rank == 0)
        with contextlib.closing(writer):
            try:
                failures, truncated = self._fill(writer, settings)
            except RevisionError:
                if rank == 0:
                    writer.discard_empty()
                raise
        store = Store.open(out)
        if rank == 0:
            self._warn(store, failures, truncated, out)
        return store

    def _fill(self, writer: StoreWriter, settings: dict[str, Any]) -> tuple[int, int]:
        """All chunks and shards, published; gives how many items failed, and how many texts were cut."""
        rank, processes, workers = distributed.rank(), distributed.world_size(), engine()
        if workers is not None:
            self._encode_on(workers, writer, settings)
        else:
            with distributed.together():
                self._encode_here(writer, rank, processes)
        with distributed.together():  # all chunks are there before one process asks about them all
            if not any(writer.chunks_of(part) for part in range(len(self.corpus.parts))):
                raise nothing_to_encode(self.corpus.where, self.encoding.modality)
            failures, truncated = self._require_few_failures(writer), writer.truncated()
        if workers is not None:
            joining = Joining(writer.place, settings)
            for _ in workers.map(joining, [(first, workers.workers) for first in range(workers.workers)]):
                pass
        with distributed.together():
            writer.join(lambda number: number % processes == rank)
        with distributed.together():
            if rank == 0:
                writer.publish()
        return failures, truncated

    def _warn(self, store: Store, failures: int, truncated: int, out: Path | str) -> None:
        if failures:
            logger.warning("%d item(s) could not be encoded; they are listed in %s", failures, f"{out}/{FAILURES}")
        if truncated:
            views = self.encoding.view_spec is not None
            logger.warning(
                "%d of %d %s were longer than the encoder's window and were cut",
                *(truncated, len(store) if views else len(store) + store.manifest.failures),
                "texts and parts" if views else "texts",
            )

    def _encode_here(self, writer: StoreWriter, rank: int, processes: int) -> None:
        """Read and encode what is this process' own: parts where there are enough of them, else chunks of each."""
        parts = len(self.corpus.parts)
        if parts >= processes:
            mine = [(part, 0, 1) for part in range(rank, parts, processes)]
        else:
            mine = [(part, (rank - part) % processes, processes) for part in range(parts)]
        seen: set[str] = set()
        failed = 0
        total = self.corpus.count() if rank == 0 and processes == 1 else None  # others' chunks are not seen here
        with self._progress(total=total, show=rank == 0) as advance, libraries_left_alone():
            for piece in mine:
                for _, failures in self.encode_piece(self.encoder, writer, piece, seen, advance):
                    failed += failures
                    if failed > self.max_failures:
                        self._require_few_failures(writer)
                    writer.join(lambda number: number % processes == rank)

    @contextlib.contextmanager
    def _progress(self, *, total: int | None, show: bool = True) -> Iterator[Callable[[int], None]]:
        """A bar, whose rate this process' tracker draws as well."""
        rate = Rate(self.tracker, "item")
        with track(f"encode {self.encoding.modality}s", total=total, unit="item", show=show) as bar:

            def advance(count: int) -> None:
                bar(count)
                rate.advance(count)

            yield advance
        rate.log()

    def _encode_on(self, workers: Engine, writer: StoreWriter, settings: dict[str, Any]) -> None:
        parts = len(self.corpus.parts)
        step = -(-PIECES_A_WORKER * workers.workers // parts)  # 1 where there are parts enough
        pieces = [(part, first, step) for part in range(parts) for first in range(step)]
        work = EncodingWork(
            run=self.without_encoder(),
            encoder=EncoderElsewhere.of(self.encoder),
            out=writer.place,
            settings=settings,
        )
        failed = 0
        with self._progress(total=self.corpus.count()) as advance:
            for items, failures in workers.map(work, pieces):
                failed += int(failures)
                if failed > self.max_failures:
                    self._require_few_failures(writer)
                advance(int(items))

    def without_encoder(self) -> EncodingRun:
        """This run, to be pickled; the encoder is loaded again where it works."""
        return EncodingRun(None, self.corpus, self.encoding, self.chunk_rows, self.rows_per_shard, self.max_failures)  # type: ignore[arg-type]

    def encode_piece(
        self, encoder: Encoder, writer: StoreWriter, piece: Piece, seen: set[str], advance: Callable[[int], None]
    ) -> Iterator[tuple[int, int]]:
        """Encode the chunks of one piece that are not there yet; yields of each how many items it has and how many of
        them failed. What was not read, since all of it is there, yields nothing.
        """
        part, first, step = piece
        known = writer.chunks_of(part)
        if known is not None and all(writer.has_chunk(chunk, part) for chunk in range(first, known, step)):
            return
        count = 0
        for chunk, items in enumerate(chunks(self.corpus.read(self.corpus.parts[part]), self.chunk_rows)):
            mine = chunk % step == first
            if mine and not writer.has_chunk(chunk, part):
                self._write_chunk(writer, part, chunk, self.encoding.chunk(encoder, self._new(items, seen)))
            for _ in self._new(items, seen):
                pass
            advance(items.count)
            if mine:
                yield items.count, len(writer.chunk_failures(chunk, part))
            count = chunk + 1
        writer.finish_part(part, count)

    def _write_chunk(self, writer: StoreWriter, part: int, chunk: int, encoded: EncodedChunk) -> None:
        columns: dict[str, Any] = {}
        if self.encoding.modality == "text":
            columns = {
                "texts": [item.text for item in encoded.items],
                "conversations": [item.conversations for item in encoded.items],
            }
        if encoded.views is not None:
            columns["views"] = encoded.views
        writer.write_chunk(
            chunk,
            [item.id for item in encoded.items],
            encoded.embeddings,
            part=part,
            failures=encoded.failures,
            truncated=encoded.truncated,
            **columns,
        )

    def _require_few_failures(self, writer: StoreWriter) -> int:
        """How many items failed in what is finished. Raises RevisionError, and lists them, beyond the budget."""
        count = sum(1 for _ in writer.failures())
        if count > self.max_failures:
            path, first = writer.write_failures(writer.failures()), next(writer.failures())
            raise RevisionError(
                f"{self.corpus.where}: {count} unusable item(s), first '{first['id']}': {first['reason']} "
                f"(all in {path}); mend them and delete {path.parent}, or allow them with "
                f"--max-failures {count}"
            )
        return count

    def _new(self, items: Iterable, seen: set[str]) -> Iterator:
        """The items, none of whose ids was `seen` in this process."""
        for item in items:
            if len(seen) < IDS_REMEMBERED:
                if item.id in seen:
                    raise RevisionError(
                        f"{self.corpus.where}: id '{item.id}' occurs more than once; ids must be unique"
                    )
                seen.add(item.id)
            yield item


@dataclass(frozen=True)
class EncoderElsewhere:
    """An encoder by its name, to be loaded by a worker; `consent` is the user's to code that it brings."""

    identity: Identity
    number_type: torch.dtype | None
    consent: bool

    @classmethod
    def of(cls, encoder: Encoder) -> EncoderElsewhere:
        """The encoder of this process."""
        return cls(encoder.identity, encoder.dtype, is_remote_code_allowed())

    def load(self) -> Encoder:
        """It, on this worker's device. Raises RevisionError where this machine has another one by that name."""
        if self.consent:
            allow_remote_code()
        encoder = load_encoder(self.identity.spec)
        problem = f"{self.identity.spec}: is another encoder on this machine"
        require_same(self.identity, encoder.identity, problem, "give all machines the same files")
        return encoder.to(device=choose_device(None), dtype=self.number_type)


@contextlib.contextmanager
def libraries_left_alone() -> Iterator[None]:
    """Inside, the search for garbage passes over what is loaded already: libraries and model are none, and looking
    through them took a quarter of the time of what goes on beside the encoder.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@functools.lru_cache(1)
def loaded(encoder: EncoderElsewhere) -> Encoder:
    """What a worker has loaded, which serves its next work, too."""
    return encoder.load()


@dataclass(frozen=True)
class EncodingWork:
    """What a worker of an engine does: it loads the encoder and writes chunks of pieces, each to its place in the
    store that another process began.
    """

    run: EncodingRun
    encoder: EncoderElsewhere
    out: Path | str
    settings: dict[str, Any]

    def __call__(self) -> Work:
        encoder = loaded(self.encoder)
        gc.freeze()  # as `libraries_left_alone`, in a process that serves this command alone
        writer = StoreWriter(self.out, **self.settings, owner=False)

        def work(piece: Piece) -> np.ndarray:
            done = list(self.run.encode_piece(encoder, writer, piece, set(), lambda count: None))
            return np.array(done, np.float64).reshape(-1, 2).sum(0)

        return work


@dataclass(frozen=True)
class Joining:
    """What a worker does when all chunks are there: it joins those shards whose number is its own."""

    out: Path | str
    settings: dict[str, Any]

    def __call__(self) -> Work:
        writer = StoreWriter(self.out, **self.settings, owner=False)

        def work(piece: Piece) -> np.ndarray:
            first, step = piece
            writer.join(lambda number: number % step == first)
            return np.zeros(0)

        return work
