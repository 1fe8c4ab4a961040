"""A folder of stated size that keeps files which were fetched from elsewhere; all processes of a machine share it.

fsspec's own caches know neither a size that they may take nor what a file must hold, and remove files that another
process reads; so here are a size, a check before a file gets its name, and locks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import RevisionError
from .progress import shown_size

FOLDER_VARIABLE, SIZE_VARIABLE, DEFAULT_SIZE = "REVISION_CACHE", "REVISION_CACHE_SIZE", "20GB"
SIZE, UNITS = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?(?:([kmgtKMGT]?)([iI]?)[bB])?"), ("", "k", "m", "g", "t")
LOCK, PART = ".lock", ".part"


def cache_folder() -> Path:
    """REVISION_CACHE, or `revision-plugin` in the user's folder for caches."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "revision-plugin"


def cache_size() -> int:
    """REVISION_CACHE_SIZE in bytes. Raises RevisionError for what is no size."""
    return read_size(os.environ.get(SIZE_VARIABLE) or DEFAULT_SIZE, SIZE_VARIABLE)


def read_size(text: str, where: str) -> int:
    """The bytes that `20GB`, `1.5TiB` or a number stand for. Raises RevisionError, naming `where`, for others."""
    found = SIZE.fullmatch(text.strip())
    if found is not None:
        size = int(float(found[1]) * (1024 if found[3] else 1000) ** UNITS.index((found[2] or "").lower()))
        if 0 < size < 2**63:
            return size
    raise RevisionError(f"{where} {text[:40]}: give a size, as a number and a unit, such as {DEFAULT_SIZE}")


class Lease:
    """A file of a cache that is in use: nobody removes it before `close`, or before this is forgotten.

    A process that was forked meanwhile has the lease too, until it ends or closes it itself.
    """

    def __init__(self, handle: int):
        self._handle = handle

    def close(self) -> None:
        """Let the file be removed when its room is needed."""
        if self._handle >= 0:
            os.close(self._handle)  # no LOCK_UN, which would end the lease of forked processes as well
            self._handle = -1

    def __del__(self) -> None:
        self.close()


class FileCache:
    """The files in `folder`, of at most `size` bytes together; it holds folders of files, one level deep.

    What was not in use for longest is removed where room is needed; so is what a process left that was killed while it
    fetched. Notes (`.json`) and locks are few bytes, and stay.
    """

    def __init__(self, folder: Path, size: int):
        self.folder, self.size = folder, size

    def lease(
        self, path: Path, name: str, size: int, fetch: Callable[[Path], None], let_go: Callable[[], bool]
    ) -> Lease:
        """The file `path`, in use from now on; messages call it `name`. Where it is not there `fetch` writes it, of
        `size` bytes, under another name, and it gets its own when `fetch` has returned. `let_go` ends one of this
        process' own leases, and says whether there was one.

        Raises RevisionError where the cache has no room for it, and OSError where the disk has none.
        """
        lease = _leased(path)
        if lease is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(_lock_of(path)):
                lease = _leased(path)  # another process has fetched it meanwhile
                if lease is None:
                    self._require_size(name, size)
                    lease = self._fetched(path, size, fetch, let_go)
        os.utime(path)  # when it was used last
        return lease

    def _fetched(self, path: Path, size: int, fetch: Callable[[Path], None], let_go: Callable[[], bool]) -> Lease:
        part = path.with_name(f".{path.name}.{size}{PART}")
        try:
            with locked(self.folder / LOCK):
                self._make_room(path, size, let_go)
                part.touch()  # by its name it takes all of its bytes already
            fetch(part)
            handle = os.open(part, os.O_RDWR)
            os.fsync(handle)
            fcntl.flock(handle, fcntl.LOCK_SH)
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return Lease(handle)

    def _require_size(self, name: str, size: int) -> None:
        if size > self.size:
            raise RevisionError(
                f"{name}: its {shown_size(size)} do not fit into the cache of {shown_size(self.size)} in "
                f"{self.folder}; give a larger --cache-size, or {SIZE_VARIABLE}"
            )

    def _make_room(self, path: Path, size: int, let_go: Callable[[], bool]) -> None:
        while True:
            files = self._files(path)
            taken = sum(each[2] for each in files)
            for _, each, each_size in sorted(files):
                if taken + size <= self.size:
                    return
                if _removed(each):
                    taken -= each_size
            if taken + size <= self.size:
                return
            if not let_go():
                raise RevisionError(
                    f"the cache of {shown_size(self.size)} in {self.folder} is full of files that other processes "
                    f"read; give a larger --cache-size, or {SIZE_VARIABLE}"
                )

    def _files(self, besides: Path) -> list[tuple[int, Path, int]]:
        """When each was used last, where it is, and what it takes."""
        found = []
        for folder in self.folder.iterdir():
            with contextlib.suppress(NotADirectoryError), os.scandir(folder) as entries:
                for entry in entries:
                    name, _, size = entry.name.removesuffix(PART).rpartition(".")
                    part = entry.name.endswith(PART) and size.isdigit()
                    if part and Path(folder, name[1:]) == besides:
                        os.unlink(entry.path)  # of a process that was killed, since this one has the lock
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        state = entry.stat(follow_symlinks=False)
                        found.append((state.st_mtime_ns, Path(entry.path), int(size) if part else state.st_size))
        return [each for each in found if not each[1].name.endswith((LOCK, ".json"))]


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}{LOCK}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, once no other process or thread holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _leased(path: Path) -> Lease | None:
    """A lease of a file that is there."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    fcntl.flock(handle, fcntl.LOCK_SH)
    lease = Lease(handle)
    return lease if os.fstat(handle).st_nlink else None  # it was removed between the two


def _removed(path: Path) -> bool:
    """Remove a file that nobody has in use; whether it was so."""
    if path.name.endswith(PART):
        name = path.name.removesuffix(PART).rpartition(".")[0][1:]
        guard = _lock_of(path.with_name(name))  # held while it is fetched
    else:
        guard = path
    try:
        handle = os.open(guard, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
