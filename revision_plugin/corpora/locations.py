"""Where a shard of a corpus lies, on disk or wherever fsspec reaches, and how it is opened.

A shard is a file that can be read without the others. Names are those of fsspec: `s3://`, `gs://`, `hf://`, `memory://`;
what has no protocol, or `file://`, lies on disk.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import fsspec
from fsspec.registry import known_implementations
from huggingface_hub.errors import EntryNotFoundError

from .._common.files import open_regular
from .._common.shared_folders import hub_failures
from ..errors import RevisionError, first_line

USER = re.compile(r"(?<=://)[^/@\s]+@")  # of an address, with a password perhaps
LOCAL = "file"
HUB = "hf"
# what to do about errors of file systems and of the libraries below them, by their types' names
REMEDIES = {
    "NoCredentialsError": "give credentials (of S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile)",
    "EndpointConnectionError": "check the network and the endpoint's address, and repeat the command",
}
NO_BUCKET = "bucket does not exist"  # in what S3 says
REMEDY = "repeat the command; where it stays, check the network and what is said there"
PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True)
class Shard:
    """A file of a corpus: its name among the others (`part`), where its protocol finds it, its size in bytes and what
    changes when it is written again.
    """

    part: str
    protocol: str
    path: str
    size: int
    version: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.path if self.protocol == LOCAL else f"{self.protocol}://{self.path.lstrip('/')}"

    @contextlib.contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Its bytes, seekable. Raises RevisionError where it cannot be read, then or later."""
        if self.protocol == LOCAL:
            with open_regular(Path(self.path)) as handle, reading(self.name, LOCAL):
                yield handle
            return
        with reading(self.name, self.protocol), fsspec.filesystem(self.protocol).open(self.path, "rb") as handle:
            yield handle


def protocol_of(name: str) -> tuple[str, str]:
    """A name's protocol, and what stands behind it; `file` for what lies on disk. Raises RevisionError for a chain."""
    if "::" in name and PROTOCOL.search(name):
        raise RevisionError(f"{name}: chains of file systems are not read; give the name in one of them")
    match = PROTOCOL.match(name)
    if match is None:
        return LOCAL, name
    protocol = match[1].lower()
    return (LOCAL, name[match.end() :]) if protocol in (LOCAL, "local") else (protocol, name)


@contextlib.contextmanager
def reading(name: str, protocol: str, verb: str = "read") -> Iterator[None]:
    """What reading `name` fails with, or another `verb`, as a RevisionError in one line, without a password."""
    name = USER.sub("", name)
    try:
        with hub_failures(name, "dataset") if protocol == HUB else contextlib.nullcontext():
            try:
                yield
            except FileNotFoundError as error:
                cause = error.__cause__
                if protocol == HUB and cause is not None and not isinstance(cause, EntryNotFoundError):
                    raise  # about a repository
                said = first_line(error)[:160]
                bucket = f" ({said})" if NO_BUCKET in said else ""
                raise RevisionError(f"{name}: no such file or folder{bucket}") from None
            except MemoryError:
                raise RevisionError(f"{name}: not enough memory for a part of it; write smaller parts") from None
    except RevisionError:
        raise
    except PermissionError as error:
        raise RevisionError(f"{name}: may not be {verb} ({first_line(error)[:160]}); give the right to") from None
    except Exception as error:  # each file system has errors of its own
        kind = type(error).__name__
        raise RevisionError(
            f"{name}: cannot be {verb} ({kind}: {first_line(error)[:160]}); {REMEDIES.get(kind, REMEDY)}"
        ) from None


def require_protocol(name: str, protocol: str) -> None:
    """Raise RevisionError, with what to install, for a protocol that fsspec does not know or has no package for."""
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError:
        known = known_implementations[protocol]
        package = known["class"].partition(".")[0]
        advice = known.get("err", "") if package == "fsspec" else f"pip install {package}"
        raise RevisionError(
            f"{name}: '{protocol}://' needs a package that is not installed; {advice}, or copy the files to disk"
        ) from None
    except ValueError:
        raise RevisionError(
            f"{name}: no file system is called '{protocol}://'; write s3://, gs://, hf:// or another of fsspec's"
        ) from None
