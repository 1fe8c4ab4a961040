"""Progress with rate and time left, for long work on a terminal or in a log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from tqdm import tqdm


@contextlib.contextmanager
def track(
    title: str, *, total: int | None, unit: str, show: bool = True, delay: float = 0
) -> Iterator[Callable[[int], None]]:
    """A tqdm bar on standard error; yields a function that advances it. Where `total` is not known it
    shows what is done and the rate. `show` is for one of several processes; work
    shorter than `delay` seconds shows none. Bytes (the unit B) are shown as kB, MB, GB.
    """
    interval = 0.1 if sys.stderr.isatty() else 10.0  # a log gets a line now and then, not a flood
    settings = dict(mininterval=interval, file=sys.stderr, dynamic_ncols=True, disable=not show, delay=delay)
    settings["unit_scale"] = unit == "B"
    with tqdm(total=total, desc=title, unit=unit, **settings) as bar:
        yield lambda n: bar.update(n) and None
