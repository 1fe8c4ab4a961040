"""Work that threads do before its results are taken."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextlib.contextmanager
def prefetch(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, most: int, first_alone: bool = True
) -> Iterator[Iterator[Result]]:
    """Results of `work` on `items`, in order, from `threads` threads; at most `most` items are under way or waiting.

    The first item is worked on alone: what libraries import when they are first used is not safe from other threads.
    `first_alone` can be False for work that imports nothing.
    """
    waiting: deque[Future[Result]] = deque()

    def results(pool: ThreadPoolExecutor) -> Iterator[Result]:
        for number, item in enumerate(items):
            waiting.append(pool.submit(work, item))
            if number == 0 and first_alone:
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


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """numpy's products use the thread that asks for them alone, in the whole process: others keep the cores busy, and
    a product is the same to the last bit for any number of cores.
    """
    with threadpool_limits(1, user_api="blas"):
        yield
