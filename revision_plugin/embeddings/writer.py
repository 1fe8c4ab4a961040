"""Writes embedding stores: in chunks, each atomically, so that a killed writer resumes where it stopped.

A corpus is one or more parts, and chunks are numbered within a part, so several processes can fill one store: each
writes its chunks, and whoever read a part to its end notes how many it has. Chunks collect in `OUT.partial`, where
`join` makes shards of them; one process then publishes: it writes the manifest and renames the folder to `OUT`. A store
on another file system is made in a work folder on this machine, and uploaded in place of the last step.
Nothing is ever half-written under the final name. Each step can be repeated, by any process, to the same store.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from .._common.files import whole_file
from .._common.folders import LOCK, ClaimedFolder, changed_keys, require_free
from ..encoders.identity import Identity
from ..errors import RevisionError
from .addresses import store_name
from .chunk_files import ChunkFiles
from .item_views import require_consecutive
from .joined_shards import JoinedShards
from .manifest import DTYPES, UNIT_NORM_TOLERANCE, arrow_schema
from .publishing import describe, failure_lines, publish, require_unique_ids
from .remote_publishing import require_free_address, work_folder
from .store import FAILURES, Store

logger = logging.getLogger(__name__)
REQUEST = "request.json"
ROWS_PER_SHARD = 1_000_000


class StoreWriter:
    """Fills one store. `request` names everything the content depends on; a resumed run must repeat it.

    Of several processes that fill one store together, the `owner` claims and publishes it; the others write chunks.
    `parts` is how many parts the corpus has; a shard ends at the first chunk's end at which it has `rows_per_shard`
    rows. `aligner` is the identity of the aligner that the embeddings went through, if any; `views` the spec of an
    item's views, where it has several.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        modality: str,
        encoder: Identity | dict,
        dim: int,
        dtype: str,
        request: dict,
        aligner: dict | None = None,
        views: str | None = None,
        parts: int = 1,
        rows_per_shard: int = ROWS_PER_SHARD,
        owner: bool = True,
    ):
        if dtype not in DTYPES:
            raise RevisionError(f"unknown store dtype '{dtype}'; available: {', '.join(DTYPES)}")
        self.out = store_name(out)
        if isinstance(self.out, str):
            self.partial = work_folder(self.out)
            if owner:
                require_free_address(self.out, self.partial)
                logger.info("%s: is made in %s, and uploaded when it is whole", self.out, self.partial)
        else:
            require_free(self.out)
            self.partial = self.out.with_name(self.out.name + ".partial")
        self.encoder = Identity.from_json(encoder, str(out))
        self.modality, self.dim, self.dtype, self.aligner = modality, dim, dtype, aligner
        self.views, self.parts = views, parts
        self._schema = arrow_schema(modality, dim, dtype, views=views is not None)
        request = {
            **{**request, "modality": modality, "encoder": self.encoder.to_json(), "dim": dim, "dtype": dtype},
            **{"parts": parts, "rows_per_shard": rows_per_shard},
        }
        if self.partial.is_symlink():
            raise RevisionError(f"{self.partial}: is a link, where the store is collected; remove it")
        self._claim = ClaimedFolder(self.partial, REQUEST, request, differences=self._changes) if owner else None
        self._chunks = ChunkFiles(self.partial, self._schema)
        with self._disk(self.partial):
            self._joined = JoinedShards(
                self.partial, self._chunks, self._schema, parts=parts, rows_per_shard=rows_per_shard, owner=owner
            )

    @property
    def place(self) -> Path | str:
        """`out`, for processes with another working directory."""
        return self.out if isinstance(self.out, str) else self.out.absolute()

    def _changes(self, before: dict, now: dict) -> list[str]:
        """The names under which two requests differ. Raises RevisionError for one that cannot be gone on with."""
        if "rows_per_shard" not in before:
            raise RevisionError(
                f"{self.partial}: was begun by an earlier version, which wrote chunks in another form; delete it, and "
                "the command starts anew"
            )
        return changed_keys(before, now)

    def close(self) -> None:
        """Let other processes write; what is done stays for a resumed run."""
        if self._claim:
            self._claim.close()

    def discard_empty(self) -> None:
        """Close, and leave nothing behind where no chunk was written: the corpus will be mended, and be another one."""
        if not self._chunks.places() and not self._joined.numbers():
            shutil.rmtree(self._chunks.folder, ignore_errors=True)
            for name in (REQUEST, LOCK):
                (self.partial / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.partial.rmdir()
        self.close()

    def has_chunk(self, chunk: int, part: int = 0) -> bool:
        """Whether an earlier run has finished this chunk: it is in a shard, or both of its files are still whole."""
        if self._joined.holding((part, chunk)) is not None:
            return True
        mark = self._chunks.mark(part, chunk)
        if mark is not None and self._chunks.table(part, chunk, mark["rows"]) is not None:
            return True
        self._joined.refresh()  # another process may have joined it a moment ago
        return self._joined.holding((part, chunk)) is not None

    def chunk_failures(self, chunk: int, part: int = 0) -> list[dict]:
        """The failures recorded in one finished chunk."""
        mark = self._chunks.mark(part, chunk)
        if mark is not None:
            return mark["failures"]
        self._joined.refresh()
        number = self._joined.holding((part, chunk))
        return [] if number is None else self._joined.chunk_failures(number, (part, chunk))

    def chunks_of(self, part: int) -> int | None:
        """How many chunks the part has, where a process has read it to its end."""
        return self._chunks.count(part)

    def write_chunk(
        self,
        chunk: int,
        ids: Sequence[str],
        embeddings: np.ndarray,
        *,
        part: int = 0,
        texts: Sequence[str] = (),
        conversations: Sequence[list | None] = (),
        views: Sequence[int] = (),
        failures: Sequence[dict] = (),
        truncated: int = 0,
    ) -> None:
        """Write chunk number `chunk` of a part: unit-norm embeddings [n, dim] with their ids and, for texts, the texts;
        in a store of views also the number of each view, an item's from 0 upwards.

        Raises RevisionError for rows that are not finite, are zero, or do not have unit norm.
        """
        embeddings = np.asarray(embeddings)
        self._check(ids, embeddings)
        flat = pa.array(embeddings.astype(DTYPES[self.dtype]).reshape(-1))
        columns = [pa.array(ids, pa.string()), pa.FixedSizeListArray.from_arrays(flat, self.dim)]
        if self.views is not None:
            require_consecutive(ids, views)
            columns.append(pa.array(views, pa.int32()))
        if self.modality == "text":
            columns.append(pa.array(texts, pa.string()))
            columns.append(pa.array(conversations or [None] * len(ids), self._schema.field("conversations").type))
        table = pa.Table.from_arrays(columns, schema=self._schema)
        mark = {"rows": len(ids), "failures": list(failures), "truncated": truncated}
        with self._disk(self._chunks.paths(part, chunk)[0]):
            self._chunks.write(part, chunk, table, mark)

    @contextlib.contextmanager
    def _disk(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RevisionError(
                f"{path}: cannot be written: {error.strerror}; what is done is kept, repeat the command to resume"
            ) from None

    def _check(self, ids: Sequence[str], embeddings: np.ndarray) -> None:
        if embeddings.shape != (len(ids), self.dim):
            raise RevisionError(
                f"embeddings of shape {list(embeddings.shape)} for {len(ids)} ids and dimension {self.dim}"
            )
        norms = np.linalg.norm(embeddings.astype(np.float32), axis=1)
        bad = ~(np.abs(norms - 1) <= UNIT_NORM_TOLERANCE[self.dtype])
        if bad.any():
            row = int(bad.argmax())
            value = "is not finite" if not np.isfinite(norms[row]) else f"has norm {norms[row]:.4g}, not 1"
            raise RevisionError(
                f"the embedding of '{ids[row]}' {value}; the encoder is broken or runs in too low a precision"
            )

    def finish_part(self, part: int, chunks: int) -> None:
        """Note that a part has so many chunks, written or still to be; it can be repeated."""
        with self._disk(self._chunks.count_path(part)):
            self._chunks.write_count(part, chunks)

    def join(self, mine: Callable[[int], bool] = lambda number: True) -> None:
        """Join finished chunks to shards, as far as there is no gap before them: those shards whose number is `mine`.

        Several processes can do this at once, while others still write chunks. Without effect on what is done already.
        """
        with self._disk(self.partial):
            self._joined.join(mine)

    def failures(self) -> Iterator[dict]:
        """The failures recorded in all that is finished, in the order of the corpus."""
        for mark in self._marks():
            yield from mark["failures"]

    def truncated(self) -> int:
        """How many texts of what is finished were longer than the encoder's window, whoever encoded them."""
        return sum(
            sum(chunk[-1] for chunk in mark["chunks"]) if "chunks" in mark else mark.get("truncated", 0)
            for mark in self._marks()
        )

    def _marks(self) -> Iterator[dict]:
        """The marks of the shards and of the chunks that are in none, in the order of the corpus."""
        self._joined.refresh()
        joined = self._joined
        places: list[tuple[tuple[int, int], int | None]] = []
        places += [(joined.extent(number).first, number) for number in joined.numbers()]
        places += [(place, None) for place in self._chunks.places() if joined.holding(place) is None]
        for place, number in sorted(places, key=lambda each: each[0]):
            mark = self._chunks.mark(*place) if number is None else joined.mark(number)
            if mark is not None:
                yield mark

    def write_failures(self, failures: Iterable[dict]) -> Path:
        """List unusable items, one JSON object a line."""
        path = self.partial / FAILURES
        with self._disk(path), whole_file(path) as handle:
            handle.writelines(failure_lines(failures))
        return path

    def finish(self, chunks: int) -> Store:
        """Publish the store of a corpus of one part that has so many chunks; return it opened."""
        self.finish_part(0, chunks)
        return self.publish()

    def publish(self) -> Store:
        """Check and publish the store, in one process and when no other writes; return it opened. Shards that nobody
        has joined are joined first.

        Raises RevisionError where ids are not unique, no item could be encoded, or a chunk is missing.
        """
        with self._disk(self.partial):
            whole = self._joined.join_rest()
        if not whole:
            raise RevisionError(
                f"{self.partial}: a chunk is missing, or was damaged while others were made; repeat the command"
            )
        failures = sum(1 for _ in self.failures())
        if not any(self._joined.mark(number)["rows"] for number in self._joined.numbers()):
            raise RevisionError(
                f"{self.out}: not one item could be encoded; see {self.partial / FAILURES}"
                if failures
                else f"{self.out}: the corpus is empty"
            )
        require_unique_ids(self._joined, self._schema, self.out)
        manifest, by_shard = describe(
            self._joined,
            modality=self.modality,
            encoder=self.encoder,
            dim=self.dim,
            dtype=self.dtype,
            aligner=self.aligner,
            views=self.views,
            failures=failures,
        )
        self.write_failures(self.failures())
        with self._disk(self.partial):
            publish(self.partial, self.out, manifest, by_shard, (REQUEST, LOCK))
        self.close()
        return Store.open(self.out)
