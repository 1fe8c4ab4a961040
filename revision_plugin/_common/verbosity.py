"""How much a command says, and whether the stream it speaks to is a terminal that can be drawn on."""

from __future__ import annotations

import enum
import os
from typing import IO


class Verbosity(enum.IntEnum):
    """What is printed: results and errors alone; also notes, warnings and progress; also what libraries log."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


class _Chosen:
    verbosity = Verbosity.NORMAL


def choose_verbosity(verbosity: Verbosity) -> None:
    """Set it for this process."""
    _Chosen.verbosity = verbosity


def verbosity() -> Verbosity:
    """What holds in this process."""
    return _Chosen.verbosity


def is_drawable(stream: IO) -> bool:
    """Whether `stream` is a terminal whose lines can be drawn anew: no pipe, no file, not TERM=dumb."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def wants_color() -> bool:
    """Whether the user has not asked for output without colours (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")
