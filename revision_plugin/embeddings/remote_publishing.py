"""A store that is published on another file system: made in a folder on this machine, then uploaded.

The manifest is the last file that is uploaded, and no store opens without it, so a store is never half there. What has
arrived is noted beside the shards: a command that is repeated uploads the rest. The sizes that arrived are compared;
the bytes are not read back, which would cost as much again, since whoever fetches a shard compares its hash.
"""

from __future__ import annotations

import hashlib
import posixpath
import shutil
from pathlib import Path

import fsspec

from .._common.file_cache import cache_folder
from .._common.files import read_object, write_json
from .._common.progress import track
from ..corpora.locations import NO_BUCKET, protocol_of, reading
from ..errors import RevisionError
from .addresses import Advance, located
from .manifest import MANIFEST, SHARD_HASHES

WORK, UPLOADED = "writing", "uploaded.json"
DESCRIPTIONS = ("failures.jsonl", "dataset_info.json", "state.json", SHARD_HASHES, MANIFEST)  # in their order
OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "hf")  # they have no folders; to make one there would make a bucket


def work_folder(name: str) -> Path:
    """Where the store with this address is made: below the cache's folder, but no part of what its size bounds."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache_folder() / WORK / f"{posixpath.basename(name)}-{digest}.partial"


def require_free_address(name: str, partial: Path) -> None:
    """Raise RevisionError unless nothing is at this address, or what was uploaded there from `partial`."""
    system, path = located(name)
    if not posixpath.basename(path):
        raise RevisionError(f"{name}: is no name for a new store; choose another --out")
    with reading(name, protocol_of(name)[0]):
        try:
            present = {posixpath.basename(each.rstrip("/")) for each in system.ls(path, detail=False)}
        except FileNotFoundError as error:
            if NO_BUCKET in str(error):
                raise
            present = set()
        if MANIFEST in present and (partial / MANIFEST).is_file():
            if system.cat_file(f"{path}/{MANIFEST}") == (partial / MANIFEST).read_bytes():
                shutil.rmtree(partial)  # a kill at the very end left it
    if present - _uploaded(partial).keys() or MANIFEST in present:
        raise RevisionError(f"{name}: already exists; choose another --out or delete it")


def upload(partial: Path, name: str, shards: list[str]) -> None:
    """Upload these shards and what describes them from `partial`, the manifest last; then delete `partial`.

    Raises RevisionError for what the other side refuses; what has arrived is not uploaded again.
    """
    system, path = located(name)
    protocol = protocol_of(name)[0]
    files = [*shards, *(each for each in DESCRIPTIONS if (partial / each).is_file())]
    sizes = {each: (partial / each).stat().st_size for each in files}
    done = _uploaded(partial)
    with reading(name, protocol, "written"), track("upload", total=sum(sizes.values()), unit="B") as advance:
        if protocol not in OBJECT_STORES:
            system.makedirs(path, exist_ok=True)
        for file in files:
            target = f"{path}/{file}"
            if file in done and done[file] == _version(system, target):
                advance(sizes[file])
                continue
            system.put_file(str(partial / file), target, callback=Advance(advance))
            system.invalidate_cache()
            arrived = int(system.info(target)["size"])
            if arrived != sizes[file]:
                raise RevisionError(
                    f"{name}/{file}: {arrived} of {sizes[file]} bytes arrived; what is done is kept, repeat the command"
                )
            done[file] = _version(system, target)
            write_json(partial / UPLOADED, done)
    shutil.rmtree(partial)


def _version(system: fsspec.AbstractFileSystem, path: str) -> str | None:
    """What changes when a file there is written again; None where there is none."""
    try:
        return str(system.checksum(path))
    except FileNotFoundError:
        return None


def _uploaded(partial: Path) -> dict[str, str | None]:
    """By name the versions of the files that have arrived."""
    path = partial / UPLOADED
    return read_object(path) if path.is_file() else {}
