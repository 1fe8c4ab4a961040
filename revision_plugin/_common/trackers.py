"""Curves of numbers in tensorboard, wandb or trackio, by the names and the variables of transformers' `--report_to`."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ..errors import RevisionError, library_failures

PROJECT = "huggingface"  # transformers' own, so that all curves of a project lie together
SECONDS = 10.0  # at least so long between two measurements of a rate


class Tracker(Protocol):
    """Takes scalars by name."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to the curve of each of `values`."""


def tensorboard_writer(name: str, folder: Path, *, place: str | None = None, purge_step: int | None = None) -> Any:
    """tensorboard's SummaryWriter: in `place`, else where TENSORBOARD_LOGGING_DIR says, else in `folder`/runs/`name`;
    from `purge_step` on it hides what stands there.
    """
    chosen = place or os.environ.get("TENSORBOARD_LOGGING_DIR") or str(folder / "runs" / name)
    return importlib.import_module("torch.utils.tensorboard").SummaryWriter(chosen, purge_step=purge_step)


class _TensorBoard:
    def __init__(self, name: str, folder: Path):
        self._writer = tensorboard_writer(name, folder)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, name: str, folder: Path):
        wandb = importlib.import_module("wandb")
        where = None if "WANDB_DIR" in os.environ else str(folder)
        self._run = wandb.init(project=os.environ.get("WANDB_PROJECT", PROJECT), name=name, dir=where)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """Local: a Space is written to where the variable TRACKIO_SPACE_ID names one alone."""

    def __init__(self, name: str, folder: Path):
        trackio = importlib.import_module("trackio")
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        self._run = trackio.init(project=project, name=name, resume="allow", embed=False)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


KINDS: dict[str, Callable[[str, Path], Any]] = {"tensorboard": _TensorBoard, "wandb": _Wandb, "trackio": _Trackio}
NAMES = tuple(KINDS)


def require_installed(name: str) -> str:
    """`name`. Raises RevisionError where it is none of `NAMES`, or its library is not there."""
    if name not in KINDS:
        raise RevisionError(f"'{name}' is no tracker; there are {', '.join(NAMES)}")
    if find_spec(name) is None:
        raise RevisionError(f"{name} is not installed; 'pip install {name}', or report to another tracker")
    return name


class _Trackers:
    def __init__(self, opened: Sequence[Any]):
        self._opened = opened

    def log(self, values: Mapping[str, float], step: int) -> None:
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        for tracker in self._opened:
            tracker.log(finite, step)


@contextlib.contextmanager
def open_trackers(names: Sequence[str], *, name: str, folder: Path) -> Iterator[Tracker | None]:
    """The trackers `names` (of `NAMES`) with a new run `name` each, closed at the end; None where none is named.

    tensorboard and wandb write into `folder` unless TENSORBOARD_LOGGING_DIR or WANDB_DIR say another, trackio into
    TRACKIO_DIR. Numbers that are not finite are left out. Raises RevisionError for a tracker that is not known, not
    installed, or does not start.
    """
    for each in names:
        require_installed(each)
    if not names:
        yield None
        return
    with contextlib.ExitStack() as stack:
        opened = []
        for each in names:
            with library_failures(f"{each} does not start"):
                opened.append(KINDS[each](name, folder))
            stack.callback(opened[-1].close)
        yield _Trackers(opened)


class Rate:
    """Logs to `tracker`, if there is one, how many `unit`s a second are done, with their number as the step."""

    def __init__(self, tracker: Tracker | None, unit: str):
        self._tracker, self._unit = tracker, unit
        self._done = self._logged = 0
        self._since = time.monotonic()

    def advance(self, count: int) -> None:
        """`count` more are done."""
        self._done += count
        if time.monotonic() - self._since >= SECONDS:
            self.log()

    def log(self) -> None:
        """Log what was done since the last time, if anything was."""
        now = time.monotonic()
        if self._tracker is not None and self._done > self._logged:
            rate = (self._done - self._logged) / max(now - self._since, 1e-9)
            self._tracker.log({f"{self._unit}s_per_second": rate}, self._done)
        self._logged, self._since = self._done, now
