"""Where the pieces of long work run: in this process, or on the machines of an engine that a command was given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

Piece = tuple[int, ...]
PIECES_A_WORKER = 4  # at least, so that all are busy to the end
Work = Callable[[Piece], np.ndarray]


class Engine(Protocol):
    """Many workers, each a process somewhere."""

    workers: int  # how many pieces are worked on at a time

    def map(self, make: Callable[[], Work], pieces: Sequence[Piece]) -> Iterator[np.ndarray]:
        """`make()(piece)` for every piece, in their order: a float64 vector each.

        `make` is pickled and called once in each worker. A piece whose worker was lost is worked on again, so that work
        must be such that it can be repeated. A RevisionError in a worker is raised here.
        """
        ...


_engine: Engine | None = None


@contextlib.contextmanager
def running_on(engine: Engine | None) -> Iterator[None]:
    """Inside, work that can be cut into pieces runs on `engine`; on None, as always, in this process."""
    global _engine
    before, _engine = _engine, engine
    try:
        yield
    finally:
        _engine = before


def engine() -> Engine | None:
    """The engine that work runs on, None for this process."""
    return _engine
