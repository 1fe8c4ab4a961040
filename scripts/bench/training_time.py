"""A real training in a process of its own, timed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from revision_plugin._common.files import read_object


def timed_training(flags: list, out: Path, steps: int) -> tuple[float, float]:
    """Seconds a step and peak megabytes of `steps` steps of the training with these flags, which writes `out`."""
    words = [*flags, "--max_steps", steps, "--output_dir", out]
    command = [sys.executable, "-m", "revision_plugin.hosts.launch", *map(str, words)]
    with open(f"{out}.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"training failed: {Path(f'{out}.log').read_text()[-2000:]}")
    history = read_object(out / "trainer_state.json")["log_history"]
    runtime = next(entry["train_runtime"] for entry in history if "train_runtime" in entry)
    return runtime / steps, usage.ru_maxrss / 1000
