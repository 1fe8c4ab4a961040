"""Whether ids are unique, without all of them in memory: by 64-bit hashes, and exactly where two of these meet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

HASHES_AT_A_TIME = 2**21  # about, sorted as one


def id_hashes(ids: Sequence[str]) -> np.ndarray:
    """A 64-bit hash of each id: uint64 [n]."""
    digests = (hashlib.blake2b(identity.encode(), digest_size=8).digest() for identity in ids)
    return np.frombuffer(b"".join(digests), "<u8")


def id_names(ids: Sequence[str]) -> np.ndarray:
    """A 128-bit hash of each id, as good as the id itself: two ids that share one cannot be found. Bytes [n]."""
    digests = (hashlib.blake2b(identity.encode(), digest_size=16).digest() for identity in ids)
    return np.frombuffer(b"".join(digests), "S16")


def repeated_id(files: Sequence[Path], ids_of: Callable[[int], Iterator[list[str]]]) -> str | None:
    """An id that occurs more than once; None where each is unique.

    Each of `files` holds, as numpy saves it, the sorted hashes of some ids, uint64 [n]; `ids_of(k)` gives the ids of
    the k-th file again, in parts. It is only asked where hashes meet.
    """
    hashes = [np.load(file, mmap_mode="r") for file in files]
    buckets = max(1, sum(map(len, hashes)) // HASHES_AT_A_TIME)
    bounds = [(k << 64) // buckets for k in range(1, buckets)]
    ends = [[0, *np.searchsorted(each, np.array(bounds, np.uint64)), len(each)] for each in hashes]
    for bucket in range(buckets):
        parts = [each[end[bucket] : end[bucket + 1]] for each, end in zip(hashes, ends)]
        together = np.sort(np.concatenate(parts))
        meeting = np.unique(together[1:][together[1:] == together[:-1]])
        if len(meeting):
            found = _repeated_among(meeting, parts, ids_of)
            if found is not None:
                return found
    return None


def _repeated_among(
    meeting: np.ndarray, parts: Sequence[np.ndarray], ids_of: Callable[[int], Iterator[list[str]]]
) -> str | None:
    """The first id that occurs again, of those whose hashes are among `meeting`."""
    seen: set[str] = set()
    for number, part in enumerate(parts):
        if not np.isin(meeting, part).any():
            continue
        for ids in ids_of(number):
            for place in np.flatnonzero(np.isin(id_hashes(ids), meeting)):
                if ids[place] in seen:
                    return ids[place]
                seen.add(ids[place])
    return None
