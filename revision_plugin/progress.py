"""Progress with rate and time left, for long work on a terminal or in a log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def track(title: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A tqdm bar on standard error; yields a function that advances it."""
    from tqdm import tqdm

    interval = 0.1 if sys.stderr.isatty() else 10.0  # a log gets a line now and then, not a flood
    with tqdm(total=total, desc=title, unit=unit, mininterval=interval, file=sys.stderr, dynamic_ncols=True) as bar:
        yield lambda n: bar.update(n) and None
