"""The code blocks of README and docs/, and what the programs of a page are given when bash runs it with stand-ins."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from conftest import ON_A_CPU, ROOT

PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
PROGRAMS = "deepspeed git pip python ray revision tensorboard torchrun transformers vllm".split()
OWN_SETUP = "quickstart.sh test.sh ms_swift/setup.sh".split()  # scripts that would make an environment
# each word of a command ends with a zero byte, each command with a line of its own; the commands of a pipe take turns
STAND_IN = """#!/usr/bin/env bash
exec >> "$RECORD"
flock 1
printf '%s\\0' "$(basename "$0")" "$@" $'\\n'
"""
# what the pages ask a reader to set
VARIABLES = {
    "ENCODER": "demo",
    "LLM": "llm",
    "TASKS": "revision_bench",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_ARRAY_TASK_COUNT": "64",
}


def blocks(page: str, language: str) -> list[str]:
    """The blocks of `page` (a path below the checkout) in a language ("" for none), in order."""
    every = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(), re.S | re.M)
    return [block for name, block in every if name == language]


def _stand_in(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STAND_IN)
    path.chmod(0o755)


def recorded(page: str, folder: Path) -> list[list[str]]:
    """The commands of `page`'s bash blocks, each as the words that its program gets after bash has read them. The
    launch scripts run for real, up to the training that they launch. Raises where bash itself refuses a line.
    """
    for name in PROGRAMS:
        _stand_in(folder / "bin" / name)
    _stand_in(folder / ".venv-swift" / "bin" / "swift")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").touch()
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=lambda *_: ["claims", "wide_world", "__pycache__"])
    for name in OWN_SETUP:
        _stand_in(folder / "scripts" / name)
    environment = {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.defpath}",  # a program without a stand-in is not found
        "RECORD": str(folder / "record"),
        **VARIABLES,
        **ON_A_CPU,
    }
    printed = []
    for block in blocks(page, "bash"):
        typed = ["bash", "-euo", "pipefail", "-c", block]
        done = subprocess.run(typed, capture_output=True, text=True, env=environment, cwd=folder)
        assert done.returncode == 0, f"{page}: {done.stderr}\n{block}"
        printed += [shlex.split(line) for line in done.stdout.splitlines()]  # of launches with DRY_RUN=1
    record = folder / "record"
    commands = record.read_text().split("\0\n\0")[:-1] if record.exists() else []
    return [*(command.split("\0") for command in commands), *printed]
