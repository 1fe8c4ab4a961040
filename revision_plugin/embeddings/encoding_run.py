"""One run of an encoder over a corpus: its chunks, shared among processes and resumed, and the store they make."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .._common import distributed
from .._common.progress import track
from ..encoders import Encoder
from ..errors import RevisionError
from .store import FAILURES, Store
from .writer import StoreWriter

logger = logging.getLogger(__name__)
IDS_REMEMBERED = 1_000_000  # of a process, to name an id that occurs twice while it reads; publishing checks all


class Corpus(Protocol):
    """Items in parts, which processes read apart; an item has an `id` and a `problem`, which is None or says why it
    cannot be used.
    """

    @property
    def parts(self) -> Sequence[str]:
        """Their names."""
        ...

    def read(self, part: str) -> Iterator:
        """The items of one part, in order."""
        ...


@dataclass(frozen=True)
class OnePart:
    """A corpus of one file or folder: `items` reads it."""

    name: str
    items: Callable[[], Iterator]

    @property
    def parts(self) -> tuple[str]:
        return (self.name,)

    def read(self, part: str) -> Iterator:
        return self.items()


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


@dataclass
class EncodingRun:
    """One run over a corpus: `encode` turns a chunk of at most `chunk_rows` items into embeddings; `where` names the
    corpus in messages, `count` is how many items it has, where that is known, and `views` the spec of an item's views
    where it has several.
    """

    encoder: Encoder
    corpus: Corpus
    encode: Callable[[list], EncodedChunk]
    modality: str
    where: str
    chunk_rows: int
    rows_per_shard: int
    max_failures: int = 0
    count: int | None = None
    views: str | None = None

    def run(self, out: Path, dtype: str, request: dict) -> Store:
        """Encode the chunks of this process (all of them without torchrun); publish the store when all are there."""
        rank, processes = distributed.rank(), distributed.world_size()
        with distributed.together():
            writer = StoreWriter(
                out,
                modality=self.modality,
                encoder=self.encoder.identity,
                dim=self.encoder.dim,
                dtype=dtype,
                request={**request, "chunk_rows": self.chunk_rows},
                views=self.views,
                parts=len(self.corpus.parts),
                rows_per_shard=self.rows_per_shard,
                owner=rank == 0,
            )
        with contextlib.closing(writer):
            try:
                failures, truncated = self._fill(writer, rank, processes)
            except RevisionError:
                if rank == 0:
                    writer.discard_empty()
                raise
        store = Store.open(out)
        if rank == 0:
            self._warn(store, failures, truncated, out)
        return store

    def _fill(self, writer: StoreWriter, rank: int, processes: int) -> tuple[int, int]:
        """All chunks and shards, published; gives how many items failed, and how many texts were cut."""
        with distributed.together():
            self._encode_parts(writer, rank, processes)
        with distributed.together():  # all chunks are there before one process asks about them all
            if not any(writer.chunks_of(part) for part in range(len(self.corpus.parts))):
                raise RevisionError(f"{self.where}: holds no {self.modality}; nothing to encode")
            failures, truncated = self._require_few_failures(writer), writer.truncated()
        with distributed.together():
            writer.join(lambda number: number % processes == rank)
        with distributed.together():
            if rank == 0:
                writer.publish()
        return failures, truncated

    def _warn(self, store: Store, failures: int, truncated: int, out: Path) -> None:
        if failures:
            logger.warning("%d item(s) could not be encoded; they are listed in %s", failures, out / FAILURES)
        if truncated:
            logger.warning(
                "%d of %d %s were longer than the encoder's window and were cut",
                *(truncated, len(store) if self.views else len(store) + store.manifest.failures),
                "texts and parts" if self.views else "texts",
            )

    def _encode_parts(self, writer: StoreWriter, rank: int, processes: int) -> None:
        """Read and encode what is this process' own: parts where there are enough of them, else chunks of each."""
        parts = self.corpus.parts
        apart = len(parts) >= processes
        seen: set[str] = set()
        failed = 0
        with track(f"encode {self.modality}s", total=self.count, unit="item", show=rank == 0) as advance:
            for part, name in enumerate(parts):
                if apart and part % processes != rank:
                    continue
                known = writer.chunks_of(part)
                if known is not None and all(writer.has_chunk(chunk, part) for chunk in range(known)):
                    continue
                chunks = 0
                for chunk, items in enumerate(batched(self.corpus.read(name), self.chunk_rows)):
                    self._require_new_ids(items, seen)
                    if apart or (part + chunk) % processes == rank:
                        if not writer.has_chunk(chunk, part):
                            self._write_chunk(writer, part, chunk, self.encode(items))
                        failed += len(writer.chunk_failures(chunk, part))
                        if failed > self.max_failures:
                            self._require_few_failures(writer)
                        writer.join(lambda number: number % processes == rank)
                    chunks = chunk + 1
                    advance(len(items))
                writer.finish_part(part, chunks)

    def _write_chunk(self, writer: StoreWriter, part: int, chunk: int, encoded: EncodedChunk) -> None:
        columns: dict[str, Any] = {}
        if self.modality == "text":
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
                f"{self.where}: {count} unusable item(s), first '{first['id']}': {first['reason']} "
                f"(all in {path}); mend them and delete {path.parent}, or allow them with "
                f"--max-failures {count}"
            )
        return count

    def _require_new_ids(self, items: list, seen: set[str]) -> None:
        if len(seen) >= IDS_REMEMBERED:
            return
        for item in items:
            if item.id in seen:
                raise RevisionError(f"{self.where}: id '{item.id}' occurs more than once; ids must be unique")
            seen.add(item.id)


def batched(items: Iterable, size: int) -> Iterator[list]:
    """Items in lists of `size`, the last of which may be shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
