"""A store whose shards are all there becomes a store under its final name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import DatasetInfo, Features

from .._common.files import hash_json, sync, write_json
from .._common.versions import versions
from ..encoders.identity import Identity
from ..errors import RevisionError
from .chunk_files import CHUNKS
from .content_hashes import hash_of_shards
from .joined_shards import JOINED, JoinedShards, item_ids
from .manifest import HASH_A_SHARD, MANIFEST, ONE_HASH, SHARD_HASHES, SHARD_NAMES, Manifest, arrow_schema, joined_hash
from .mapped_shards import map_shard
from .remote_publishing import upload
from .unique_ids import repeated_id

IDS_AT_A_TIME = 65536


def describe(
    joined: JoinedShards,
    *,
    modality: str,
    encoder: Identity,
    dim: int,
    dtype: str,
    aligner: dict | None,
    views: str | None,
    failures: int,
) -> tuple[Manifest, dict[str, list[str]]]:
    """The manifest of a store of these shards, and by column the shards' hashes."""
    marks = [joined.mark(number) for number in joined.numbers()]
    several = len(marks) > 1
    rows = [mark["rows"] for mark in marks]
    names = arrow_schema(modality, dim, dtype, views=views is not None).names
    by_shard = {name: [mark["columns"][name] for mark in marks] for name in names}
    columns = {name: hash_of_shards(rows, each) if several else each[0] for name, each in by_shard.items()}
    manifest = Manifest(
        modality=modality,
        encoder=encoder,
        dim=dim,
        dtype=dtype,
        aligner=aligner,
        count=sum(rows),
        unit_norm=True,
        content_hash=joined_hash(columns, modality, dim, dtype),
        columns=columns,
        conversations=sum(mark["conversations"] for mark in marks),
        failures=failures,
        shards=[SHARD_NAMES % number for number in joined.numbers()],
        versions=versions(),
        views=views,
        format_version=HASH_A_SHARD if several else ONE_HASH,
        shard_rows=rows if several else None,
        shard_bytes=[mark["bytes"] for mark in marks] if several else None,
        shard_items=[mark["items"] for mark in marks] if several and views is not None else None,
    )
    return manifest, by_shard


def require_unique_ids(joined: JoinedShards, schema: pa.Schema, out: Path | str) -> None:
    """Raise RevisionError for an id of two items."""
    numbers = joined.numbers()

    def ids_of(place: int) -> Iterator[list[str]]:
        table = map_shard(joined.paths(numbers[place])[0], schema)
        for start in range(0, len(table), IDS_AT_A_TIME):
            yield item_ids(table.slice(start, IDS_AT_A_TIME)).to_pylist()

    twice = repeated_id([joined.paths(number)[2] for number in numbers], ids_of)
    if twice is not None:
        raise RevisionError(f"{out}: id '{twice}' occurs more than once; ids must be unique")


def publish(
    partial: Path,
    out: Path | str,
    manifest: Manifest,
    by_shard: dict[str, list[str]],
    leftovers: Sequence[str],
) -> None:
    """Write what describes the shards in `partial`, rename it to `out`, and delete what only the writing needed; where
    `out` is the address of another file system, upload the store instead.
    """
    _write_datasets_files(partial, manifest)
    if manifest.format_version == HASH_A_SHARD:
        write_json(partial / SHARD_HASHES, {"columns": by_shard})
    write_json(partial / MANIFEST, manifest.to_json())
    if isinstance(out, str):
        upload(partial, out, manifest.shards)
        return
    if out.exists():
        out.rmdir()
    sync(partial)
    os.replace(partial, out)
    sync(out.parent)
    # only now: a kill before the rename leaves all that the repeated command needs
    for folder in (CHUNKS, JOINED):
        shutil.rmtree(out / folder, ignore_errors=True)
    for leftover in leftovers:
        (out / leftover).unlink(missing_ok=True)


def _write_datasets_files(folder: Path, manifest: Manifest) -> None:
    """The two files that make the folder a `datasets` dataset."""
    DatasetInfo(features=Features.from_arrow_schema(manifest.schema)).write_to_directory(str(folder))
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in manifest.shards],
        "_fingerprint": hash_json(manifest.content_hash)[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    write_json(folder / "state.json", state)


def failure_lines(failures: Iterable[dict]) -> Iterator[bytes]:
    """Unusable items as a JSON object a line."""
    for failure in failures:
        yield (json.dumps(failure, ensure_ascii=False) + "\n").encode("utf-8", errors="backslashreplace")
