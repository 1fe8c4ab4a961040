"""Writes embedding stores: in chunks, each atomically, so that a killed writer resumes where it stopped.

Chunks collect in `OUT.partial`; `finish` hashes them, writes the manifest and renames the folder to `OUT`.
Nothing is ever half-written under the final name. A chunk is one shard, numbered by its place in the input,
so several processes can fill one store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import DatasetInfo, Features

from .._common.files import hash_json, read_object, sync, whole_file, write_json, write_text
from .._common.folders import LOCK, ClaimedFolder, require_free
from .._common.versions import versions
from ..encoders.identity import Identity
from ..errors import RevisionError
from .item_views import require_consecutive
from .manifest import DTYPES, MANIFEST, UNIT_NORM_TOLERANCE, Manifest, arrow_schema, joined_hash
from .store import FAILURES, Store, column_hashes, map_shard

REQUEST = "request.json"


class StoreWriter:
    """Fills one store. `request` names everything the content depends on; a resumed run must repeat it.

    Of several processes that fill one store together, the `owner` claims and publishes it; the others write chunks.
    `aligner` is the identity of the aligner that the embeddings went through, if any; `views` the spec of an item's
    views, where it has several.
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
        owner: bool = True,
    ):
        if dtype not in DTYPES:
            raise RevisionError(f"unknown store dtype '{dtype}'; available: {', '.join(DTYPES)}")
        self.out = Path(out)
        require_free(self.out)
        self.partial = self.out.with_name(self.out.name + ".partial")
        self.encoder = Identity.from_json(encoder, str(out))
        self.modality, self.dim, self.dtype, self.aligner = modality, dim, dtype, aligner
        self.views = views
        self._schema = arrow_schema(modality, dim, dtype, views=views is not None)
        request = {**request, "modality": modality, "encoder": self.encoder.to_json(), "dim": dim, "dtype": dtype}
        if self.partial.is_symlink():
            raise RevisionError(f"{self.partial}: is a link, where the store is collected; remove it")
        self._claim = ClaimedFolder(self.partial, REQUEST, request) if owner else None

    def close(self) -> None:
        """Let other processes write; what is done stays for a resumed run."""
        if self._claim:
            self._claim.close()

    def _paths(self, chunk: int) -> tuple[Path, Path]:
        return self.partial / f"data-{chunk:05d}.arrow", self.partial / f"data-{chunk:05d}.json"

    def has_chunk(self, chunk: int) -> bool:
        """Whether an earlier run has finished this chunk, and both of its files are still whole.

        A power loss can leave a mark without its chunk, or a torn one: such a chunk is made again.
        """
        mark = self._mark(chunk)
        if mark is None:
            return False
        try:
            rows = map_shard(self._paths(chunk)[0], self._schema).num_rows
        except RevisionError:
            return False
        return rows == mark.get("rows")

    def _mark(self, chunk: int) -> dict | None:
        """What was noted when the chunk was done; None where it was not, or the note is torn."""
        path = self._paths(chunk)[1]
        try:
            return read_object(path) if path.exists() else None
        except RevisionError:
            return None

    def failures(self, chunks: int) -> list[dict]:
        """The failures recorded in those of the first `chunks` chunks that are finished, in input order."""
        marks = (self._mark(chunk) for chunk in range(chunks))
        return [failure for mark in marks if mark for failure in mark["failures"]]

    def chunk_failures(self, chunk: int) -> list[dict]:
        """The failures recorded in one finished chunk."""
        return read_object(self._paths(chunk)[1])["failures"]

    def truncated(self, chunks: int) -> int:
        """How many texts of the first `chunks` chunks were longer than the encoder's window, whoever encoded them."""
        return sum(read_object(self._paths(chunk)[1]).get("truncated", 0) for chunk in range(chunks))

    def write_chunk(
        self,
        chunk: int,
        ids: Sequence[str],
        embeddings: np.ndarray,
        *,
        texts: Sequence[str] = (),
        conversations: Sequence[list | None] = (),
        views: Sequence[int] = (),
        failures: Sequence[dict] = (),
        truncated: int = 0,
    ) -> None:
        """Write chunk number `chunk`: unit-norm embeddings [n, dim] with their ids and, for texts, the texts; in a
        store of views also the number of each view, an item's from 0 upwards.

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
        path, done = self._paths(chunk)
        try:
            with whole_file(path) as handle, pa.ipc.new_stream(handle, self._schema) as stream:
                stream.write_table(table)
            write_json(done, {"rows": len(ids), "failures": list(failures), "truncated": truncated})
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

    def finish(self, chunks: int) -> Store:
        """Check, hash and publish the store of `chunks` chunks; return it opened."""
        paths = [self._paths(chunk)[0] for chunk in range(chunks)]
        failures = self.failures(chunks)
        tables = [map_shard(path, self._schema) for path in paths]
        count = sum(table.num_rows for table in tables)
        if count == 0:
            raise RevisionError(
                f"{self.out}: not one item could be encoded; see {self.partial / FAILURES}"
                if failures
                else f"{self.out}: the corpus is empty"
            )
        if self.views is not None:
            tables_of_ids = [table.select(["id", "view"]).filter(pc.equal(table.column("view"), 0)) for table in tables]
        else:
            tables_of_ids = tables
        ids = pa.chunked_array([chunk for table in tables_of_ids for chunk in table.column("id").chunks])
        if pc.count_distinct(ids).as_py() != len(ids):
            counts = pc.value_counts(ids)
            twice = next(entry["values"].as_py() for entry in counts if entry["counts"].as_py() > 1)
            raise RevisionError(f"{self.out}: id '{twice}' occurs more than once; ids must be unique")
        talks = sum(len(t) - t.column("conversations").null_count for t in tables) if self.modality == "text" else 0
        columns = column_hashes(tables, self.dim, self._schema.names)
        manifest = Manifest(
            modality=self.modality,
            encoder=self.encoder,
            dim=self.dim,
            dtype=self.dtype,
            aligner=self.aligner,
            count=count,
            unit_norm=True,
            content_hash=joined_hash(columns, self.modality, self.dim, self.dtype),
            columns=columns,
            conversations=talks,
            failures=len(failures),
            shards=[path.name for path in paths],
            versions=versions(),
            views=self.views,
        )
        self.write_failures(failures)
        self._write_datasets_files(manifest)
        write_json(self.partial / MANIFEST, manifest.to_json())
        if self.out.exists():
            self.out.rmdir()
        sync(self.partial)
        os.replace(self.partial, self.out)
        sync(self.out.parent)
        # only now: a kill before the rename leaves all that the repeated command needs
        for leftover in (*(self._paths(chunk)[1].name for chunk in range(chunks)), REQUEST, LOCK):
            (self.out / leftover).unlink(missing_ok=True)
        self.close()
        return Store.open(self.out)

    def write_failures(self, failures: Sequence[dict]) -> Path:
        """List unusable items, one JSON object a line."""
        path = self.partial / FAILURES
        write_text(path, "".join(json.dumps(failure, ensure_ascii=False) + "\n" for failure in failures))
        return path

    def _write_datasets_files(self, manifest: Manifest) -> None:
        """The two files that make the folder a `datasets` dataset."""
        DatasetInfo(features=Features.from_arrow_schema(self._schema)).write_to_directory(str(self.partial))
        state: dict[str, Any] = {
            "_data_files": [{"filename": name} for name in manifest.shards],
            "_fingerprint": hash_json(manifest.content_hash)[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": None,
        }
        write_json(self.partial / "state.json", state)
