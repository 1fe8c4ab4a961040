"""Runs the quickstart's trainings: each in a process of its own, through what a user launches, as many as fit at a
time. The processes find the libraries loaded.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from .._common.forked import ForkedModule, call, forked_processes
from .._common.progress import Advance, read_line, track
from ..errors import ERROR, RevisionError, one_line
from ..evaluation.run import evaluate
from ..hosts.launch import main as launch

PROJECTOR = "mlp2x_gelu"
COMMON_FLAGS = f"""
    --mm_projector_type {PROJECTOR} --mm_use_im_start_end False --mm_use_im_patch_token False --vision_tower revision
    --eval_strategy no --save_strategy no --weight_decay 0. --warmup_ratio 0.03 --lr_scheduler_type cosine
    --logging_steps 5 --model_max_length 2048 --dataloader_num_workers 0 --lazy_preprocess True --report_to none
""".split()
LOOK_EVERY = 0.5  # seconds
STEP = re.compile(rb"(\d+)/\d+ \[")
# what a training imports before its first step, the optimizer's compiler included, and what lmms-eval imports; what is
# not installed is passed over
PRELOADED = (
    "revision_plugin.demo.ready_host",
    "revision_plugin.encoders.open_clip",
    "transformers.trainer",
    "peft",
    "torch._dynamo",
    "deepspeed",
    "datasets",
    "evaluate",
)


def training_flags(
    language_model: Path, encoder: str, *, seed: int, steps: int, batch: int, rate: float, projector: str = PROJECTOR
) -> list[str]:
    """What a training in this process is given beside its data: `COMMON_FLAGS` and these, without a bar."""
    return [
        *(projector if flag == PROJECTOR else flag for flag in COMMON_FLAGS),
        *("--disable_tqdm", "True", "--model_name_or_path", str(language_model), "--revision_encoder", encoder),
        *("--seed", str(seed), "--gradient_accumulation_steps", "1", "--max_steps", str(steps)),
        *("--per_device_train_batch_size", str(batch), "--learning_rate", str(rate)),
    ]


@dataclass(frozen=True)
class Job:
    """One training: its output folder, how many steps it takes, its flags and the job it waits for."""

    out: Path
    steps: int
    flags: tuple[str, ...]
    after: Path | None = None

    @property
    def finished(self) -> bool:
        return any((self.out / name).exists() for name in ("mm_projector.bin", "model.safetensors"))

    @property
    def log(self) -> Path:
        return self.out.with_name(self.out.name + ".log")

    def start(self, threads: int) -> BaseProcess:
        shutil.rmtree(self.out, ignore_errors=True)  # an unfinished run of an earlier, stopped quickstart
        flags = [*COMMON_FLAGS, "--max_steps", str(self.steps), "--output_dir", str(self.out), *self.flags]
        return _start(launch, (flags,), self.log, threads)

    def steps_done(self) -> int:
        if not self.log.exists():
            return 0
        step_numbers = STEP.findall(self.log.read_bytes())
        return min(int(step_numbers[-1]), self.steps) if step_numbers else 0


def _start(function: Callable[..., Any], arguments: tuple, log: Path, threads: int) -> BaseProcess:
    """A process of its own that writes `log` anew."""
    log.write_bytes(b"")
    with forked_processes(PRELOADED, threads) as context:
        process = context.Process(target=call, args=(log, threads, function, arguments))
        process.start()
    return process


def _end(processes: Iterable[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
        process.join()


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def run_jobs(jobs: list[Job]) -> None:
    """Run all unfinished jobs, each after the one it waits for. Raises RevisionError with the log of one that fails."""
    slots = min(2, os.cpu_count() or 1)
    threads = max(1, (os.cpu_count() or 1) // slots)
    waiting = [job for job in jobs if not job.finished]
    running: dict[Job, BaseProcess] = {}
    bars: dict[Job, Bar] = {}
    total = Bar("all trainings", sum(job.steps for job in waiting), "step")
    try:
        while waiting or running:
            ready = [j for j in waiting if j.after is None or not any(o.out == j.after for o in [*waiting, *running])]
            for job in ready[: slots - len(running)]:
                waiting.remove(job)
                bars[job] = Bar(job.out.name, job.steps, "step")
                running[job] = job.start(threads)
            time.sleep(LOOK_EVERY)
            for job, process in list(running.items()):
                status = process.exitcode  # before its log is read, which is whole then
                bars[job].show(job.steps_done())
                if status is not None:
                    del running[job]
                    bars[job].close()
                    _require_success(job, status)
            total.show(sum(bar.done for bar in bars.values()))
    finally:
        for bar in (*bars.values(), total):
            bar.close()
        _end(running.values())


class Bar:
    """Progress of a process, as far as its log tells; a log that is read late or anew takes nothing back."""

    def __init__(self, title: str, total: int | None, unit: str):
        self.done = 0
        self._held = contextlib.ExitStack()
        self._advance: Advance = self._held.enter_context(track(title, total=total, unit=unit))

    def show(self, done: int) -> None:
        """So much is done in all."""
        if done > self.done:
            self._advance(done - self.done)
            self.done = done

    def close(self) -> None:
        """Show it no longer; may be called again."""
        self._held.close()


def run_evaluations(settings: list[dict[str, Any]], logs: list[Path]) -> None:
    """Run `evaluate` with each of these settings side by side, each with its log. Raises RevisionError with the last
    line of one that fails.
    """
    threads = max(1, (os.cpu_count() or 1) // len(settings))
    running: dict[Path, BaseProcess] = {}
    bars: dict[Path, Bar] = {}
    try:
        for each, log in zip(settings, logs):
            running[log] = _start(_evaluate, (each,), log, threads)
        while running:
            time.sleep(LOOK_EVERY)
            for log, process in list(running.items()):
                status = process.exitcode
                _show_answers(log, bars)
                if status is not None:
                    del running[log]
                    if log in bars:
                        bars[log].close()
                    if status:
                        last = _last_line(log).removeprefix(ERROR)
                        raise RevisionError(f"an evaluation failed: {last} (whole log in {log})")
    finally:
        for bar in bars.values():
            bar.close()
        _end(running.values())


def _show_answers(log: Path, bars: dict[Path, Bar]) -> None:
    """The bar of an evaluation, once its log says how many questions there are."""
    lines = filter(None, map(read_line, log.read_text(errors="replace").splitlines()))
    for progress in lines:
        if log not in bars:
            bars[log] = Bar(log.stem, progress.total, progress.unit)
        bars[log].show(progress.done)


def _evaluate(settings: dict[str, Any]) -> None:
    with one_line():
        evaluate(**settings, start=ForkedModule)


def _require_success(job: Job, status: int) -> None:
    if status or not job.finished:
        last = _last_line(job.log)
        raise RevisionError(f"training {job.out.name} failed with status {status}: {last} (whole log in {job.log})")
