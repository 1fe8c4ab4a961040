"""Progress with rate and time left, for long work: a bar on a terminal, lines now and then in a pipe or a log."""

from __future__ import annotations

import contextlib
import datetime
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from tqdm import tqdm

from .verbosity import Verbosity, is_drawable, verbosity

LINE_EVERY = 10.0  # seconds at most: a log gets a line now and then, not a flood
FIRST_LINE = 1.0  # seconds after the start; the next comes when twice as much time has gone by
LINE = re.compile(r"^(?P<title>[^:]+): (?P<done>\d+)(?: of (?P<total>\d+))? (?P<unit>\w+)s, ")
BYTES = "B"  # the unit of what is fetched or uploaded
Advance = Callable[[int], None]


class Display(Protocol):
    """Shows the progress of one piece of work."""

    def __call__(self, title: str, *, total: int | None, unit: str) -> AbstractContextManager[Advance]:
        """Inside, what is yielded advances it."""


class _Chosen:
    display: Display | None = None


@contextlib.contextmanager
def shown_on(display: Display) -> Iterator[None]:
    """Inside, what `track` follows in this process is shown on `display` instead."""
    before, _Chosen.display = _Chosen.display, display
    try:
        yield
    finally:
        _Chosen.display = before


@contextlib.contextmanager
def track(title: str, *, total: int | None, unit: str, show: bool = True, delay: float = 0) -> Iterator[Advance]:
    """Progress on standard error; yields a function that advances it. Where `total` is not known it shows what is done
    and the rate. `show` is for one of several processes; work shorter than `delay` seconds shows none. Bytes (the unit
    B) are shown as kB, MB, GB.
    """
    if not show or verbosity() is Verbosity.QUIET:
        yield lambda n: None
    elif _Chosen.display is not None:
        with _Chosen.display(title, total=total, unit=unit) as advance:
            yield advance
    elif is_drawable(sys.stderr):
        settings = dict(file=sys.stderr, dynamic_ncols=True, delay=delay, unit_scale=unit == BYTES)
        with tqdm(total=total, desc=title, unit=unit, **settings) as bar:
            yield lambda n: bar.update(n) and None
    else:
        lines = Lines(title, total, unit, lambda line: print(line, file=sys.stderr, flush=True), delay=delay)
        yield lines.advance
        lines.end()


class Lines:
    """Progress as lines for `write`: more and more seldom until there is one every `every` seconds, and one at the
    end.
    """

    def __init__(
        self,
        title: str,
        total: int | None,
        unit: str,
        write: Callable[[str], None],
        *,
        delay: float = 0,
        first: float = FIRST_LINE,
        every: float = LINE_EVERY,
    ):
        self.title, self.total, self.unit, self.done = title, total, unit, 0
        self._write, self._delay, self._first, self._every = write, delay, max(first, delay), every
        self._started = self._written = time.monotonic()

    def advance(self, n: int) -> None:
        self.done += n
        now = time.monotonic()
        if now - self._written >= min(self._every, max(self._first, self._written - self._started)):
            self._written = now
            self._write(self._line(now, "left"))

    def end(self) -> None:
        """Write what was done in all, unless the work was shorter than the delay."""
        now = time.monotonic()
        if now - self._started >= self._delay:
            self._write(self._line(now, "in all"))

    def _line(self, now: float, what: str) -> str:
        seconds = max(now - self._started, 1e-9)
        rate = self.done / seconds
        of = "" if self.total is None else f" of {amount(self.total, self.unit)}"
        units = "" if self.unit == BYTES else f" {self.unit}s"
        line = f"{self.title}: {amount(self.done, self.unit)}{of}{units}, {rate_text(rate, self.unit)}"
        if what == "in all":
            return f"{line}, {duration(seconds)} in all"
        if self.total is None or not rate:
            return line
        return f"{line}, {duration(max(self.total - self.done, 0) / rate)} left"


def shown_size(size: float) -> str:
    """A size for people, with three digits."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.0f} bytes"


def amount(count: float, unit: str) -> str:
    """So many units; of bytes to three digits."""
    return shown_size(count) if unit == BYTES else str(count)


def rate_text(rate: float, unit: str) -> str:
    """Units a second, to about three digits."""
    if unit == BYTES:
        return f"{amount(rate, unit)} a second"
    return f"{rate:,.0f} {unit}s a second" if rate >= 100 else f"{rate:.3g} {unit}s a second"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as 0:01:05."""
    return str(datetime.timedelta(seconds=round(seconds)))


@dataclass(frozen=True)
class Shown:
    """What a line of progress says."""

    title: str
    done: int
    total: int | None
    unit: str


def read_line(line: str) -> Shown | None:
    """What a line that `Lines` wrote says; None for any other line."""
    found = LINE.match(line)
    if found is None:
        return None
    total = found["total"]
    return Shown(found["title"], int(found["done"]), None if total is None else int(total), found["unit"])
