"""Stores on other file systems, wherever fsspec reaches: read through a cache of stated size on this machine's disk.

Opening reads what describes a store; a shard is fetched whole when something first reads it, and is checked against its
hashes before it gets its name in the cache. A folder of the cache is of one manifest's bytes, so that a store that was
written again, or copied elsewhere, finds what is its own.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from .._common.distributed import launched_rank
from .._common.file_cache import SIZE_VARIABLE, FileCache, Lease, cache_folder, cache_size
from .._common.files import parse_json, whole_file
from .._common.progress import shown_size, track
from ..corpora.listing import pinned
from ..corpora.locations import HUB, protocol_of, reading
from ..errors import RevisionError, first_line
from .addresses import Advance, local_disk, located
from .content_hashes import column_hashes
from .manifest import HASH_A_SHARD, MANIFEST, SHARD_HASHES, Manifest, shard_hashes
from .mapped_shards import MAPS, MappedShards, map_shard

logger = logging.getLogger(__name__)
STORES = "stores"  # in the cache's folder
SLOW = 5.0  # seconds after which progress is shown
_OPENED: weakref.WeakSet[RemoteShards] = weakref.WeakSet()
_AT_RANDOM: weakref.WeakSet[RemoteShards] = weakref.WeakSet()


def holds_store(name: str) -> bool:
    """Whether there is a manifest of a store at this address. Raises RevisionError where that may not be asked."""
    system, path = located(name)
    with reading(name, protocol_of(name)[0]):
        return system.exists(f"{path}/{MANIFEST}")


def described(name: str) -> tuple[str, Path, Manifest]:
    """What describes the store at an address: the address (in the hub, at a commit), the folder of the cache that is
    this store's, with its manifest and its shards' hashes, and the manifest.

    Raises RevisionError for what is no finished store, or cannot be read.
    """
    system, path = located(name)
    protocol = protocol_of(name)[0]
    with reading(name, protocol):
        if protocol == HUB:
            path = pinned(system, path)
            name = f"{protocol}://{path}"
        try:
            data = system.cat_file(f"{path}/{MANIFEST}")
        except FileNotFoundError as error:
            said = f" ({first_line(error)})" if path not in str(error) else ""  # of the bucket
            raise RevisionError(
                f"{name}: no {MANIFEST} there{said}, so no finished embedding store; check the name, or make one with "
                "'revision encode'"
            ) from None
    value = parse_json(data.decode("utf-8", "replace"), f"{name}/{MANIFEST}")
    if not isinstance(value, dict):
        raise RevisionError(f"{name}/{MANIFEST}: is no manifest of a store; encode the store again")
    manifest = Manifest.from_json(value, f"{name}/{MANIFEST}")
    folder = cache_folder() / STORES / hashlib.sha256(data).hexdigest()[:32]
    with local_disk():
        folder.mkdir(parents=True, exist_ok=True)
        if manifest.format_version == HASH_A_SHARD:
            with reading(f"{name}/{SHARD_HASHES}", protocol):
                hashes = system.cat_file(f"{path}/{SHARD_HASHES}")
            with whole_file(folder / SHARD_HASHES) as handle:
                handle.write(hashes)
        with whole_file(folder / MANIFEST) as handle:
            handle.write(data)
    return name, folder, manifest


class RemoteShards(MappedShards):
    """The shards of the store `name`, fetched to `folder` of the cache when they are first read.

    As many stay mapped as the cache holds: where the store is larger, the last one. Raises RevisionError for a store of
    old whose shards have no hashes of their own.
    """

    def __init__(self, name: str, folder: Path, manifest: Manifest):
        super().__init__(folder, manifest.shards, manifest.shard_rows or [manifest.count], manifest.schema)
        self.name, self._manifest = name, manifest
        if manifest.format_version == HASH_A_SHARD:
            try:
                self._hashes = shard_hashes(manifest, folder / SHARD_HASHES)
            except RevisionError as error:
                raise RevisionError(str(error).replace(str(folder), name)) from None
        elif len(manifest.shards) > 1 or manifest.columns is None:
            raise RevisionError(
                f"{name}: is a store of old, whose shards have no hashes to check them by; copy it to disk and read it "
                "there"
            )
        else:
            self._hashes = [manifest.columns]
        self._cache = FileCache(cache_folder() / STORES, cache_size())
        self._held: OrderedDict[int, tuple[pa.Table, Lease]] = OrderedDict()  # the last one read is the last
        self._guard = threading.Lock()
        _OPENED.add(self)

    @functools.cached_property
    def size(self) -> int:
        """The bytes of all shards."""
        sizes = self._manifest.shard_bytes
        return sum(sizes) if sizes is not None else self._size_there(0)

    def let_go(self) -> bool:
        """End the lease of what was read longest ago; whether there was one."""
        with self._guard:
            if not self._held:
                return False
            self._held.popitem(last=False)[1][1].close()
            return True

    def table(self, shard: int) -> pa.Table:
        with self._guard:
            if shard in self._held:
                self._held.move_to_end(shard)
                return self._held[shard][0]
        if self.size > self._cache.size:
            self.let_go()  # so that of several processes each needs room for one
        lease = self._lease(shard)
        try:
            table = self.mapped(shard)
        except RevisionError:  # of a copy that was damaged here
            (self.folder / self.names[shard]).unlink(missing_ok=True)
            lease = self._lease(shard)
            table = self.mapped(shard)
        with self._guard:
            before = self._held.pop(shard, None)  # of another thread
            self._held[shard] = table, lease
        if before is not None:
            before[1].close()
        if len(self._held) > MAPS:
            self.let_go()
        return table

    def _lease(self, shard: int) -> Lease:
        path, fetch = self.folder / self.names[shard], functools.partial(self._fetch, shard)
        with local_disk():
            return self._cache.lease(path, self._place(shard), self._size_there(shard), fetch, _let_go)

    def changed(self, shard: int, reason: str | None = None) -> RevisionError:
        path = self.folder / self.names[shard]
        path.unlink(missing_ok=True)
        return RevisionError(
            f"{self._place(shard)}: its copy in the cache ({path}) does not match its hash, and is removed; repeat the "
            "command to fetch it again"
        )

    def _place(self, shard: int) -> str:
        return f"{self.name}/{self.names[shard]}"

    def _size_there(self, shard: int) -> int:
        """The size of a shard, which is not fetched if it is here. Raises RevisionError where it is missing there."""
        if self._manifest.shard_bytes is not None:
            return self._manifest.shard_bytes[shard]
        here = self.folder / self.names[shard]
        if here.exists():
            return here.stat().st_size
        return self._asked_size(shard)

    def _asked_size(self, shard: int) -> int:
        system, path = located(self.name)
        with reading(self._place(shard), protocol_of(self.name)[0]):
            try:
                return int(system.info(f"{path}/{self.names[shard]}")["size"])
            except FileNotFoundError:
                raise RevisionError(f"{self._place(shard)}: shard is missing there; write the store again") from None

    def _fetch(self, shard: int, part: Path) -> None:
        """Write a shard to `part`, a file of the cache. What does not match its hashes is fetched once more: a transfer
        may have damaged it.
        """
        expected, present = self._size_there(shard), self._asked_size(shard)
        if present != expected or not present:
            bytes_there = f"{present} bytes, not {expected}" if present else "it is empty"
            raise RevisionError(f"{self._place(shard)}: shard is damaged there ({bytes_there}); write the store again")
        for last in (False, True):
            self._download(shard, part, expected)
            problem = self._problem(shard, part)
            if problem is None:
                self.checked.add(shard)
                return
            if not last:
                logger.warning("warning: %s: %s; it is fetched again", self._place(shard), problem)
        raise RevisionError(
            f"{self._place(shard)}: {problem}, fetched twice; it is damaged there: write the store again"
        )

    def _download(self, shard: int, part: Path, size: int) -> None:
        system, path = located(self.name)
        name = self.names[shard]
        show = launched_rank() == 0
        with (
            reading(self._place(shard), protocol_of(self.name)[0]),
            local_disk(),
            track(f"fetch {name}", total=size, unit="B", show=show, delay=SLOW) as advance,
        ):
            system.get_file(f"{path}/{name}", str(part), callback=Advance(advance))

    def _problem(self, shard: int, part: Path) -> str | None:
        """What is wrong with a fetched file; None where it is the shard."""
        try:
            table = map_shard(part, self._manifest.schema)
            table.validate(full=True)
        except (RevisionError, pa.ArrowException) as error:
            return first_line(error).removeprefix(f"{part}: ").partition(";")[0]
        if column_hashes([table], self._manifest.dim, self._manifest.schema.names) != self._hashes[shard]:
            return "the content does not match its hash"
        return None


def copy_files(name: str, files: Sequence[str], folder: Path, *, optional: Sequence[str] = ()) -> None:
    """Copy these files of the store at an address to `folder`, and of the `optional` ones those that are there."""
    system, path = located(name)
    with reading(name, protocol_of(name)[0]):
        present = [file for file in optional if system.exists(f"{path}/{file}")]
        with local_disk(), track("fetch", total=None, unit="B", delay=SLOW) as advance:
            for file in (*files, *present):
                system.get_file(f"{path}/{file}", str(folder / file), callback=Advance(advance))


def require_room_for_all(shards: MappedShards) -> None:
    """For a training, which reads rows in random order: raise RevisionError where the cache is smaller than the stores
    that trainings of this process read so.
    """
    if not isinstance(shards, RemoteShards):
        return
    _AT_RANDOM.add(shards)
    sizes = {each.folder: each.size for each in _AT_RANDOM}
    total, room = sum(sizes.values()), cache_size()
    if total > room:
        more = f" (with {len(sizes) - 1} other store(s))" if len(sizes) > 1 else ""
        raise RevisionError(
            f"{shards.name}: a training reads all rows in random order; the store takes {shown_size(total)}{more}, the "
            f"cache {shown_size(room)}: set {SIZE_VARIABLE} to {-(-total // 10**9)}GB, or copy the store to disk"
        )


def _let_go() -> bool:
    """End one of this process' leases, of any store."""
    return any(shards.let_go() for shards in list(_OPENED))
