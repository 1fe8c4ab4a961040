"""Work that threads do ahead of whoever takes its results."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor


@contextlib.contextmanager
def ahead(work: Callable, items: Iterable, *, threads: int, most: int) -> Iterator[Iterator]:
    """Results of `work` on `items`, in order, from `threads` threads; at most `most` items are under way or waiting."""
    waiting: deque = deque()

    def results(pool: ThreadPoolExecutor) -> Iterator:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    with ThreadPoolExecutor(threads) as pool:
        try:
            yield results(pool)
        finally:
            for future in waiting:
                future.cancel()
