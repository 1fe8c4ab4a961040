"""The flags of commands whose work can run on a Ray cluster."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
from collections.abc import Iterator

from .._common import distributed
from .._common.engines import Engine, running_on
from ..errors import RevisionError
from .arguments import whole

RAY, LOCAL = "ray", "local"


def add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--engine", choices=(LOCAL, RAY), default=LOCAL, help="where the work runs: here (or under torchrun), or on Ray"
    )
    group.add_argument(
        "--address", help="of the Ray cluster (default: RAY_ADDRESS; without one a Ray is started on this machine)"
    )
    group.add_argument("--workers", type=whole(1), help="on Ray (default: one a GPU, or else one a core)")


@contextlib.contextmanager
def chosen_engine(arguments: argparse.Namespace) -> Iterator[Engine | None]:
    """Runs what is inside on the engine of `add_engine`'s flags. Raises RevisionError where that is not installed."""
    if arguments.engine == LOCAL:
        for name in ("address", "workers"):
            if getattr(arguments, name) is not None:
                raise RevisionError(f"--{name}: is for --engine {RAY}; give that, too, or leave it out")
        yield None
        return
    if distributed.launched_processes() > 1:
        raise RevisionError(f"--engine {RAY}: starts its own processes; run the command without torchrun")
    try:
        # or it prints a paragraph on standard output for each worker that is lost; the engine logs a line
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
        ray_engine = importlib.import_module("revision_plugin._common.ray_engine")
    except ImportError as error:
        raise RevisionError(f"--engine {RAY}: Ray is not installed ({error}); pip install ray") from None
    with ray_engine.RayEngine(arguments.address, arguments.workers) as engine, running_on(engine):
        yield engine
