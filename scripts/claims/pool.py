"""Runs all trainings, several at a time, each in a process that keeps its libraries loaded; a stopped run goes on."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from revision_plugin._common.files import read_json, write_json
from revision_plugin._common.folders import ClaimedFolder
from revision_plugin._common.forked import enter, forked_processes
from revision_plugin._common.progress import track
from revision_plugin.demo import jobs
from revision_plugin.demo.smollm2 import export_smollm2
from revision_plugin.errors import RevisionError
from scripts.claims.choices_made import choices_to_make
from scripts.claims.claim_corpora import preparations
from scripts.claims.plan import ENCODERS, OTHER, Settings, Variant, cell
from scripts.claims.variant_training import LARGE_MODEL, RESULT, run_training, training_folder

logger = logging.getLogger(__name__)
MARK, WALL = "claims.json", "seconds.json"
PRELOADED = ["scripts.claims.variant_training", *jobs.PRELOADED]


def run_claims(out: Path, settings: Settings, variants: list[Variant], *, workers: int | None = None) -> list[dict]:
    """Everything that is not done yet, under `out`; returns the result of every training.

    Raises RevisionError for fewer than two seeds, where `out` holds a run of other settings, or where a training fails.
    """
    if settings.seeds < 2:
        raise RevisionError("seeds are the unit of comparison; give at least 2")
    names = [variant.name for variant in variants]
    with ClaimedFolder(out, MARK, {"settings": settings.to_json(), "variants": names}):
        return _run_missing(out, settings, variants, workers or os.cpu_count() or 1)


def _run_missing(out: Path, settings: Settings, variants: list[Variant], workers: int) -> list[dict]:
    work = [
        (run_training, (out, settings, variant.name, seed))
        for seed in range(settings.seeds)
        for variant in variants
        if not (training_folder(out, variant.name, seed) / RESULT).exists()
    ]
    if any(variant.large for variant in variants):
        export_smollm2(out / LARGE_MODEL)
    with time_kept(out, workers) as keep_time:
        run_all("embed", "store", preparations(out, settings, variants), workers, out / "preparation.log", keep_time)
        run_all("train", "training", work, workers, out / "trainings.log", keep_time)
        if {cell("realign", encoder, content=OTHER) for encoder in ENCODERS} <= {variant.name for variant in variants}:
            run_all("choose", "choice", choices_to_make(out, settings), workers, out / "choices.log", keep_time)
    return results(out, settings, variants)


@contextlib.contextmanager
def time_kept(out: Path, workers: int) -> Iterator[Callable[[], None]]:
    """Adds up in `out` the seconds of all calls of a run that was stopped and repeated; yields what to call often."""
    before = read_json(out / WALL)["wall"] if (out / WALL).exists() else 0.0
    started = time.monotonic()

    def keep_time() -> None:
        write_json(out / WALL, {"wall": before + time.monotonic() - started, "workers": workers})

    try:
        yield keep_time
    finally:
        keep_time()


def results(out: Path, settings: Settings, variants: list[Variant]) -> list[dict]:
    """The result of every training of a finished run."""
    return [read_json(training_folder(out, v.name, seed) / RESULT) for v in variants for seed in range(settings.seeds)]


def run_all(
    title: str, unit: str, work: list[tuple[Callable, tuple]], workers: int, log: Path, after_each: Callable[[], None]
) -> None:
    if not work:
        return
    with track(title, total=len(work), unit=unit) as advance, _pool(min(workers, len(work)), log) as pool:
        futures = {pool.submit(function, *arguments): arguments for function, arguments in work}
        for future in as_completed(futures):
            try:
                future.result()
            except BrokenProcessPool:
                raise RevisionError(f"a process of '{title}' was killed; repeat the command to go on ({log})") from None
            except Exception as error:
                what = " ".join(str(a) for a in futures[future][2:])
                raise RevisionError(f"'{title}' of '{what}' failed: {error} ({log})") from error
            advance(1)
            after_each()


@contextlib.contextmanager
def _pool(workers: int, log: Path) -> Iterator[ProcessPoolExecutor]:
    """Processes that share the processor's cores and write what the libraries print into `log`."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    with forked_processes(PRELOADED, threads) as context:
        pool = ProcessPoolExecutor(workers, context, initializer=enter, initargs=(log, threads))
        try:
            yield pool
            pool.shutdown()
        except BaseException:
            for process in list((pool._processes or {}).values()):  # no public way to stop what already runs
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise
