"""Samples of a webdataset tar: members in a row that share a key, read as a stream, never unpacked to disk.

The format: https://github.com/webdataset/webdataset, "The WebDataset Format": a member's key is its path up to the
first dot of its file name, what follows is the name of its field.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..errors import RevisionError, first_line, shown
from .locations import Shard
from .shards import decompressed

MEMBER = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)
MOST_BYTES = 2**28  # of a member
MOST_HEADER = 2**20  # bytes of a long name or of attributes, which tarfile reads whole
MOST_NAMES = 64  # fields of a sample that are remembered
PICKLES = ("pyd", "pickle", "pkl", "pth", "pt")
LONG_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


@dataclass
class Sample:
    """One sample: its key, the fields it has, the bytes of those that were asked for, and why one has none."""

    key: str
    fields: list[str] = field(default_factory=list)
    data: dict[str, bytes] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def samples(shard: Shard, wanted: Callable[[str], bool]) -> Iterator[Sample]:
    """The samples of a tar in order, with the bytes of the fields (in lower case) that are `wanted`.

    Of a member that is a link, a device, too large, or called by a path that leads out of a folder, nothing is read; it
    is a problem of its sample. Files without a suffix, and those whose names begin with a dot, belong to no sample.
    Raises RevisionError for a tar that is cut or damaged, or followed by another.
    """
    with decompressed(shard) as handle:
        blocks = _LastBlock()
        sample: Sample | None = None
        try:
            with tarfile.open(fileobj=handle, mode="r|", tarinfo=_member_type(blocks)) as tar:
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # it would remember every one
                    match = MEMBER.fullmatch(member.name.removeprefix("./"))
                    if member.isdir() or match is None or match[1].rpartition("/")[2].startswith("__"):
                        continue
                    if sample is None or match[1] != sample.key:
                        if sample is not None:
                            yield sample
                        sample = Sample(match[1])
                    _add(sample, match[2].lower(), member, tar, wanted)
                whole = blocks.is_end
                rest = tar.fileobj
                more = whole and any(part.strip(b"\0") for part in iter(lambda: rest.read(2**20), b""))
        except tarfile.TarError as error:
            raise RevisionError(
                f"{shard.name}: not a whole, readable tar: {first_line(error)[:160]}; get it again"
            ) from None
        if not whole:
            raise RevisionError(f"{shard.name}: not a whole, readable tar: its end is missing; get it again")
        if more:
            raise RevisionError(f"{shard.name}: holds more behind the tar's end; give tars that are not joined")
        if sample is not None:
            yield sample


def _add(
    sample: Sample, name: str, member: tarfile.TarInfo, tar: tarfile.TarFile, wanted: Callable[[str], bool]
) -> None:
    """Take a member into its sample."""
    if name in sample.fields and wanted(name):
        sample.problems[name] = f"has two members '{name}'"
        return
    if len(sample.fields) < MOST_NAMES:
        sample.fields.append(name)
    if not wanted(name):
        return
    if name not in sample.fields:
        sample.problems[name] = f"has more than {MOST_NAMES} members"
    elif posixpath.isabs(member.name) or ".." in member.name.split("/"):
        sample.problems[name] = (
            f"its member '{shown(member.name[:200])}' is called by a path that leads out of a folder"
        )
    elif not member.isreg() or member.issparse():
        sample.problems[name] = f"its member '{name}' is a link, a device or sparse, not a plain file"
    elif member.size > MOST_BYTES:
        sample.problems[name] = f"its member '{name}' has {member.size} bytes; the limit is {MOST_BYTES}"
    else:
        content = tar.extractfile(member)
        sample.data[name] = b"" if content is None else content.read()


class _LastBlock:
    """Whether the last block that a tar's reader took for a header was its end mark: it stops at damage in silence."""

    is_end = False


def _member_type(blocks: _LastBlock) -> type[tarfile.TarInfo]:
    class Member(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf, encoding, errors):
            blocks.is_end = len(buf) == tarfile.BLOCKSIZE and not buf.strip(b"\0")
            member = super().frombuf(buf, encoding, errors)
            if member.type in LONG_HEADERS and member.size > MOST_HEADER:
                raise tarfile.ReadError(f"a header of {member.size} bytes")
            return member

    return Member
