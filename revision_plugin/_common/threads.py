"""Work that threads do before its results are taken."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextlib.contextmanager
def prefetch(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, most: int
) -> Iterator[Iterator[Result]]:
    """Results of `work` on `items`, in order, from `threads` threads; at most `most` items are under way or waiting.

    The first item is worked on alone: what libraries import when they are first used is not safe from other threads.
    """
    waiting: deque[Future[Result]] = deque()

    def results(pool: ThreadPoolExecutor) -> Iterator[Result]:
        for number, item in enumerate(items):
            waiting.append(pool.submit(work, item))
            if number == 0:
                wait(waiting)
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
