"""run.json beside a training's outputs: its flags, versions and what it read; a resumed run must repeat them."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .._common.distributed import launched_processes
from .._common.files import hash_file, read_json, write_json
from .._common.flags import parse_flags
from .._common.folders import ClaimedFolder
from .._common.versions import versions
from ..embeddings.store import MANIFEST

RECORD = "run.json"
CLAIMS: list[ClaimedFolder] = []  # held until the process ends: workers of a killed launcher live on
# what changes neither the result nor the order of the data
FREE_FLAGS = {
    "--local_rank",
    "--logging_steps",
    "--save_steps",
    "--save_total_limit",
    "--save_strategy",
    "--report_to",
    "--run_name",
    "--dataloader_num_workers",
    "--output_dir",
    "--lazy_preprocess",
    "--revision_trust_remote_code",
}
READ_FLAGS = ("--data_path", "--revision_store", "--revision_aligner", "--pretrain_mm_mlp_adapter", "--deepspeed")
PACKAGES = ("llava-torch", "llava", "accelerate", "deepspeed", "peft", "bitsandbytes")


def begin(out: Path, arguments: Sequence[str]) -> None:
    """Write OUT/run.json. Hold OUT for this process.

    Raises RevisionError where OUT holds checkpoints of a run with other flags or inputs, or another training writes
    there.
    """
    flags = parse_flags(arguments)
    record = {
        "command": flags,
        "inputs": {flag: _identity(Path(flags[flag])) for flag in READ_FLAGS if flag in flags},
        "processes": launched_processes(),
        "versions": {**versions(PACKAGES), "python": platform.python_version()},
        "git": _git_state(),
    }

    def differences(before: dict, now: dict) -> list[str]:
        return _differences(before, now) if any(out.glob("checkpoint-*")) else []

    CLAIMS.append(ClaimedFolder(out, RECORD, record, flag="--output_dir", shared=True, differences=differences))


def _differences(before: dict, now: dict) -> list[str]:
    """The flags that changed, with their values, and the inputs whose content did."""
    flags = [record["command"] for record in (before, now)]
    changed = []
    for flag in sorted((flags[0].keys() | flags[1].keys()) - FREE_FLAGS):
        old, new = (values.get(flag, "not given") for values in flags)
        if old != new:
            changed.append(f"{flag} ({old}, now {new})")
    for flag in sorted(before["inputs"].keys() | now["inputs"].keys()):
        if before["inputs"].get(flag) != now["inputs"].get(flag):
            changed.append(f"content of its {flag}")
    return changed


def is_begun(out: Path) -> bool:
    """Whether a training with the plugin's tower writes, or wrote, in `out`."""
    return (out / RECORD).exists()


def add(out: Path, name: str, value: dict) -> None:
    """Add a section to OUT/run.json."""
    path = out / RECORD
    write_json(path, {**read_json(path), name: value})


def _identity(path: Path) -> str | None:
    """What a file, store or aligner contains, as a hash; None where it is not there (its reader says so)."""
    if (path / MANIFEST).is_file():
        return read_json(path / MANIFEST).get("content_hash")
    if (path / "aligner.json").is_file():
        return read_json(path / "aligner.json").get("parameters_hash")
    return hash_file(path) if path.is_file() else None


def _git_state() -> dict | None:
    """Commit of the working directory's repository, and whether it has uncommitted changes; None outside one."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return None if not commit else {"commit": commit, "uncommitted_changes": bool(git("status", "--porcelain"))}
