"""Trainings that are stopped and killed while they run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import ENVIRONMENT, FLAGS, FORKS, ROOT, kill_all

STEPS, EVERY = 240, 12
PLAIN = ()


def start(out, llm, *flags, launcher=PLAIN, environment=ENVIRONMENT, steps=STEPS, every=EVERY):
    """The training as a process group of its own, so that a kill reaches all its processes."""
    at = FLAGS.index("--save_strategy")
    base_flags = [*FLAGS[:at], *FLAGS[at + 2 :]]
    command = [
        ROOT / "scripts" / "train.py",
        *base_flags,
        "--vision_tower",
        "revision",
        "--revision_encoder",
        "demo",
        "--model_name_or_path",
        llm,
        "--output_dir",
        out,
        "--max_steps",
        steps,
        "--save_strategy",
        "steps",
        "--save_steps",
        every,
        "--save_total_limit",
        1,
        *flags,
    ]
    with open(f"{out}.log", "ab") as log:
        if not launcher and environment is ENVIRONMENT:
            return FORKS.popen(command, environment=environment, cwd=os.getcwd(), stdout=log, stderr=log)
        return subprocess.Popen(
            list(map(str, [*(launcher or (sys.executable,)), *command])),
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def finish(process, out, expect=0):
    assert process.wait(timeout=240) == expect, Path(f"{out}.log").read_text()[-3000:]


def stop_after_checkpoint(process, out, number, *, after=-1):
    """Send a signal to all processes once a whole checkpoint beyond step `after` is there; returns that step."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert process.poll() is None, Path(f"{out}.log").read_text()[-3000:]
        complete_steps = [
            int(path.parent.name.split("-")[1]) for path in out.glob("checkpoint-*/revision_complete.json")
        ]
        if complete_steps and max(complete_steps) > after:
            if number == signal.SIGKILL:
                kill_all(process)
            else:
                os.killpg(process.pid, number)
                process.wait(timeout=60)
            return max(complete_steps)
        time.sleep(0.005)
    raise AssertionError("no checkpoint in time")
