"""How long the parts of a run took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


@contextlib.contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Keep under `name` how many seconds the block took, if it came to its end."""
    started = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - started, 3)
