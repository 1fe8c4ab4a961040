"""Addresses of stores on other file systems, wherever fsspec reaches, and what goes between there and here."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
from fsspec.callbacks import Callback
from fsspec.core import url_to_fs
from fsspec.registry import known_implementations

from .._common.file_cache import FOLDER_VARIABLE, cache_folder
from ..corpora.locations import LOCAL, protocol_of, reading, require_protocol
from ..errors import FULL, RevisionError, environment_line

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//?)([^/].*|/.*)", re.DOTALL)


def store_name(path: str | Path) -> Path | str:
    """A store's name as it is used: on disk (`file://` too) a path, elsewhere the address, `s3://bucket/store`.

    A `Path` that was made of an address has lost one of its slashes, and gets it back. Raises RevisionError for chains
    of file systems.
    """
    found = ADDRESS.fullmatch(str(path))
    if found is None or found[2] == "/" and found[1] not in known_implementations:
        return Path(path)
    protocol, rest = protocol_of(f"{found[1]}://{found[3]}")
    if protocol == LOCAL:
        return Path(rest if found[2] == "//" else f"/{rest}")
    return f"{protocol}://{found[3].strip('/')}"


def located(name: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of an address, and the path there. Raises RevisionError for one that is not known, has no package
    or cannot be reached.
    """
    protocol = protocol_of(name)[0]
    require_protocol(name, protocol)
    with reading(name, protocol):
        system, path = url_to_fs(name)  # anew each time: in a forked process it makes a connection of its own
        system.invalidate_cache()
        return system, path.rstrip("/")


class Advance(Callback):
    """What fsspec tells about a transfer, for `advance` of a progress bar."""

    def __init__(self, advance: Callable[[int], None]):
        super().__init__()
        self._advance, self._told = advance, 0

    def call(self, hook_name: str | None = None, **keywords: object) -> None:
        self._advance(self.value - self._told)
        self._told = self.value


@contextlib.contextmanager
def local_disk() -> Iterator[None]:
    """What the disk of the cache refuses, as a RevisionError in one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL and str(cache_folder()) not in str(error.filename):
            raise
        where = cache_folder() if error.filename is None else error.filename
        line = environment_line(OSError(error.errno, error.strerror, str(where)))
        raise RevisionError(f"{line}, or set {FOLDER_VARIABLE} to another place") from None
