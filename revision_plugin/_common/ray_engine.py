"""Work on a Ray cluster: a pool of actors for as long as the engine runs, each given piece after piece.

An actor that is lost is replaced by a new one, which Ray starts where there is room, and its piece goes to whichever is
free: Ray's own restarts would keep the piece waiting for a place that may never come.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from ..errors import RevisionError, first_line
from .engines import PIECES_A_WORKER, Piece, Work
from .processes import changed_environment, module_path
from .threads import prefetch

RETRIES = 5  # of one piece whose workers were lost, before something must be wrong with the piece
LOCAL_STORE = 256 * 2**20  # bytes that a Ray of this machine alone keeps: results are small
ADDRESS, AUTHENTICATION = "RAY_ADDRESS", "RAY_AUTH_MODE"
NEW = "local"  # a Ray of this command's own, whatever else runs on the machine
LOOK_AFTER, WARN_AFTER = 1.0, 60.0  # seconds without a free worker
logger = logging.getLogger(__name__)


class RayEngine:
    """The workers of a Ray cluster: one a GPU where it has GPUs, else one a CPU core.

    Use it as a context: inside, this process is connected to the cluster at `address` (or at the environment's
    `RAY_ADDRESS`); without one a Ray is started on this machine, and ended. Its workers live as long, so that they
    start once however many passes there are. Raises RevisionError for a cluster that does not answer.
    """

    def __init__(self, address: str | None = None, workers: int | None = None):
        self._address = address or os.environ.get(ADDRESS)
        self._wanted = workers
        self.workers, self.gpus = 0, False
        self._free: queue.SimpleQueue = queue.SimpleQueue()  # workers, and the errors of those that did not start
        self._busy: set = set()
        self._failed_starts, self._warned, self._ended = 0, False, False

    def __enter__(self) -> RayEngine:
        cores = os.cpu_count() or 1
        settings: dict = dict(log_to_driver=False, logging_level=logging.ERROR)
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        if self._address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            settings |= dict(address=NEW, num_cpus=self._wanted or cores)
            settings |= dict(object_store_memory=LOCAL_STORE, include_dashboard=False)
        else:
            settings |= dict(address=self._address)
        # a Ray that is started here finds the modules that this process finds
        try:
            with changed_environment({"PYTHONPATH": module_path()}):
                ray.init(**settings)
        except Exception as error:  # which is what Ray raises for a machine that is too busy
            if self._address is None:
                raise RevisionError(f"Ray on this machine does not start: {first_line(error)}") from None
            hint = "" if os.environ.get(AUTHENTICATION) else f"; one that asks for a token needs {AUTHENTICATION}=token"
            where = f"the Ray cluster at {self._address}"
            raise RevisionError(f"{where} does not answer: {first_line(error)}{hint}") from None
        resources = ray.cluster_resources()
        self.gpus = resources.get("GPU", 0) >= 1
        there = resources["GPU"] if self.gpus else resources.get("CPU", 1)
        self.workers = self._wanted or max(1, int(there))
        for _ in range(self.workers):
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        ray.shutdown()

    def map(self, make: Callable[[], Work], pieces: Sequence[Piece]) -> Iterator[np.ndarray]:
        """See `Engine`. A piece is given to a worker when one is free; a few results wait for those before them."""
        if not pieces:
            return
        stopped = threading.Event()
        # in a list, which Ray hands over as it is: a worker fetches what makes the work once, not with each piece
        work = functools.partial(self._done, [ray.put(make)], stopped)
        waiting = PIECES_A_WORKER * self.workers
        with ray_failures(), prefetch(work, pieces, threads=self.workers, most=waiting, first_alone=False) as results:
            try:
                for problem, values in results:
                    if problem:
                        raise RevisionError(problem)
                    yield values
            finally:
                stopped.set()
                for worker in [*self._busy]:  # with what nobody waits for any more
                    ray.kill(worker)

    def _start(self) -> None:
        """Ask for a worker, which is free when it has started."""
        place = dict(num_cpus=0, num_gpus=1) if self.gpus else dict(num_cpus=1)
        worker: Any = ray.remote(EngineWorker).options(**place).remote()
        started = worker.ready.remote().future()
        started.add_done_callback(lambda done: self._free.put(done.exception() or worker))

    def _done(self, work: list, stopped: threading.Event, piece: Piece) -> tuple[str, np.ndarray]:
        """A worker's answer to one piece; of workers that are lost, that of the next one."""
        for attempt in range(1 + RETRIES):
            worker = self._free_worker(stopped)
            self._busy.add(worker)
            try:
                answer = ray.get(worker.work.remote(work, piece))
            except RayTaskError:  # the work failed, not its worker
                self._free.put(worker)
                raise
            except RayError as error:
                if self._ended:
                    raise
                ray.kill(worker)  # one that cannot be reached may still be there
                self._start()
                if attempt == RETRIES or stopped.is_set():
                    raise
                logger.warning("Ray has lost a worker (%s); another one does its piece", _reason(error))
            else:
                self._free.put(worker)
                return answer
            finally:
                self._busy.discard(worker)
        raise AssertionError

    def _free_worker(self, stopped: threading.Event):
        waited = 0.0
        while not (stopped.is_set() or self._ended):
            try:
                worker = self._free.get(timeout=LOOK_AFTER)
            except queue.Empty:
                waited += LOOK_AFTER
                if waited >= WARN_AFTER and not self._busy and not self._warned:
                    self._warned = True
                    logger.warning("Ray has no room for a worker yet; are its cores or GPUs taken by other work?")
                continue
            if not isinstance(worker, BaseException):
                self._failed_starts = 0
                return worker
            self._failed_starts += 1
            if self._failed_starts > RETRIES:
                raise worker
            self._start()
        raise RevisionError("stopped")


def _reason(error: RayError) -> str:
    return f"{type(error).__name__}: {first_line(error)[:200]}"


@contextlib.contextmanager
def ray_failures() -> Iterator[None]:
    """What Ray gives up at, as a RevisionError in one line."""
    try:
        yield
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, (OutOfMemoryError, MemoryError)):
            raise RevisionError(
                "a worker of Ray has run out of memory; what is done is kept: repeat the command with fewer --workers, "
                "or on machines with more memory"
            ) from error
        raise RevisionError(
            f"Ray gave up ({_reason(error)}); what is done is kept, mend that and repeat the command"
        ) from error


class EngineWorker:
    """An actor: makes what works once, then does piece after piece. A RevisionError is an answer, not a failure that
    would be tried again.
    """

    def __init__(self) -> None:
        self._made_by: ray.ObjectRef | None = None
        self._work: Work | None = None
        self._problem = ""

    def ready(self) -> None:
        """Returns when the worker has started."""

    def work(self, make: list, piece: Piece) -> tuple[str, np.ndarray]:
        """What went wrong, or nothing, and the result of `piece` by the work that the reference in `make` makes."""
        if self._made_by != make[0]:
            self._work, self._problem = None, ""  # nothing is kept of the work before
            try:
                self._work = ray.get(make[0])()
            except RevisionError as error:
                self._problem = str(error)
            self._made_by = make[0]
        if self._work is None:
            return self._problem, np.zeros(0)
        try:
            return "", np.asarray(self._work(tuple(piece)), np.float64)
        except RevisionError as error:
            return str(error), np.zeros(0)
