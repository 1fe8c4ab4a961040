"""Runs the quickstart's trainings: each in a process of its own, through what a user launches, as many as fit at a
time. The processes find the libraries loaded.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from .._common.forked import call, forked_processes
from .._common.progress import track
from ..errors import RevisionError, one_line
from ..evaluation.run import evaluate
from ..hosts.launch import main as launch

PROJECTOR = "mlp2x_gelu"
COMMON_FLAGS = f"""
    --mm_projector_type {PROJECTOR} --mm_use_im_start_end False --mm_use_im_patch_token False --vision_tower revision
    --eval_strategy no --save_strategy no --weight_decay 0. --warmup_ratio 0.03 --lr_scheduler_type cosine
    --logging_steps 5 --model_max_length 2048 --dataloader_num_workers 0 --lazy_preprocess True --report_to none
""".split()
STEP = re.compile(rb"(\d+)/\d+ \[")
PRELOADED = ("revision_plugin.hosts.launch", "revision_plugin.encoders.open_clip", "transformers.trainer", "peft")


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
    total = sum(job.steps for job in waiting)
    shown = 0
    try:
        with track("train", total=total, unit="step") as advance:
            while waiting or running:
                ready = [
                    j for j in waiting if j.after is None or not any(o.out == j.after for o in [*waiting, *running])
                ]
                for job in ready[: slots - len(running)]:
                    waiting.remove(job)
                    running[job] = job.start(threads)
                time.sleep(0.5)
                for job, process in list(running.items()):
                    if process.exitcode is not None:
                        del running[job]
                        _require_success(job, process.exitcode)
                done = sum(job.steps_done() for job in jobs if job not in waiting and (job in running or job.finished))
                done = max(shown, min(done, total))
                advance(done - shown)
                shown = done
    finally:
        _end(running.values())


def run_evaluations(settings: list[dict[str, Any]], logs: list[Path]) -> None:
    """Run `evaluate` with each of these settings side by side, each with its log. Raises RevisionError with the last
    line of one that fails.
    """
    threads = max(1, (os.cpu_count() or 1) // len(settings))
    running: list[BaseProcess] = []
    try:
        for each, log in zip(settings, logs):
            running.append(_start(_evaluate, (each,), log, threads))
        for process, log in zip(running, logs):
            process.join()
            if process.exitcode:
                last = _last_line(log).removeprefix("error: ")
                raise RevisionError(f"an evaluation failed: {last} (whole log in {log})")
    finally:
        _end(running)


def _evaluate(settings: dict[str, Any]) -> None:
    with one_line():
        evaluate(**settings)


def _require_success(job: Job, status: int) -> None:
    if status or not job.finished:
        last = _last_line(job.log)
        raise RevisionError(f"training {job.out.name} failed with status {status}: {last} (whole log in {job.log})")
