"""Work on a Ray cluster: pieces go through Ray Data to a pool of actors; retries and moved work are Ray's."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning

from ..errors import RevisionError, first_line
from .engines import Piece, Work
from .processes import changed_environment

RETRIES = 5  # of one piece whose workers were lost, before something must be wrong with the piece
LOCAL_STORE = 256 * 2**20  # bytes that a Ray of this machine alone keeps: results are small
ADDRESS = "RAY_ADDRESS"


class RayEngine:
    """The workers of a Ray cluster: one a GPU where it has GPUs, else one a CPU core.

    Use it as a context: inside, this process is connected to the cluster at `address` (or at the environment's
    `RAY_ADDRESS`); without one a Ray is started on this machine, and ended. Raises RevisionError for a cluster that
    does not answer.
    """

    def __init__(self, address: str | None = None, workers: int | None = None):
        self._address = address or os.environ.get(ADDRESS)
        self._wanted = workers
        self.workers, self.gpus = 0, False

    def __enter__(self) -> RayEngine:
        cores = os.cpu_count() or 1
        settings: dict = dict(log_to_driver=False, logging_level=logging.ERROR)
        if self._address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
            # an actor holds a core for good: as many more as there are workers are for what feeds them
            settings |= dict(num_cpus=2 * (self._wanted or cores), object_store_memory=LOCAL_STORE)
            settings |= dict(include_dashboard=False)
        else:
            settings |= dict(address=self._address)
        # a Ray that is started here finds the modules that this process finds
        found = os.pathsep.join(dict.fromkeys(path or os.getcwd() for path in sys.path))
        try:
            with changed_environment({"PYTHONPATH": found}):
                ray.init(**settings)
        except (RayError, ConnectionError, ValueError, OSError, RuntimeError) as error:
            where = f"the Ray cluster at {self._address}" if self._address else "Ray on this machine"
            raise RevisionError(f"{where} does not start: {first_line(error)}") from None
        resources = ray.cluster_resources()
        self.gpus = resources.get("GPU", 0) >= 1
        there = resources["GPU"] if self.gpus else cores if self._address is None else resources.get("CPU", 1) - 1
        self.workers = self._wanted or max(1, int(there))
        return self

    def __exit__(self, *_: object) -> None:
        ray.shutdown()

    def map(self, make: Callable[[], Work], pieces: Sequence[Piece]) -> Iterator[np.ndarray]:
        """See `Engine`."""
        if not pieces:
            return
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is raised
        with ray.data.DataContext.current(_context()), warnings.catch_warnings():
            warnings.simplefilter("ignore", RayDeprecationWarning)  # of the retries, for which there is no other name
            rows = ray.data.from_items([{"piece": list(piece)} for piece in pieces], override_num_blocks=len(pieces))
            results = rows.map_batches(
                _Worker,
                fn_constructor_args=(make,),
                batch_size=1,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=min(self.workers, len(pieces))),
                num_cpus=0 if self.gpus else 1,
                num_gpus=1 if self.gpus else 0,
                ray_remote_args_fn=_retries,
            )
            with _ray_failures():
                for batch in results.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0):
                    assert isinstance(batch, pa.Table)
                    problem = batch.column("problem")[0].as_py()
                    if problem:
                        raise RevisionError(problem)
                    yield batch.column("result")[0].values.to_numpy()


def _context() -> ray.data.DataContext:
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    return context


def _retries() -> dict[str, int]:
    """Ray Data's own default is to try for ever, also what kills every worker that tries it."""
    return {"max_restarts": RETRIES, "max_task_retries": RETRIES}


@contextlib.contextmanager
def _ray_failures() -> Iterator[None]:
    """What Ray gives up at, as a RevisionError in one line."""
    try:
        yield
    except RayError as error:
        raise RevisionError(
            f"Ray gave up ({type(error).__name__}: {first_line(error)[:200]}); what is done is kept, mend that and "
            "repeat the command"
        ) from error


class _Worker:
    """An actor: makes what works once, then does piece after piece. A RevisionError is an answer, not a failure that
    Ray would try again.
    """

    def __init__(self, make: Callable[[], Work]):
        self._work: Work | None = None
        self._problem = ""
        try:
            self._work = make()
        except RevisionError as error:
            self._problem = str(error)

    def __call__(self, batch: pa.Table) -> pa.Table:
        problem, values = self._problem, np.zeros(0)
        if self._work is not None:
            try:
                values = self._work(tuple(batch.column("piece")[0].as_py()))
            except RevisionError as error:
                problem = str(error)
        offsets = pa.array([0, len(values)], pa.int64())
        result = pa.LargeListArray.from_arrays(offsets, pa.array(np.asarray(values, np.float64)))
        return pa.table({"result": result, "problem": pa.array([problem], pa.string())})
