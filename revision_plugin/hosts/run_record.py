"""run.json beside a training's outputs: its flags, versions and what it read; a resumed run must repeat them."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from .._common.distributed import launched_processes
from .._common.files import hash_file, hash_json, outline, read_object, write_json
from .._common.flags import parse_flags, says_true
from .._common.folders import ClaimedFolder
from .._common.versions import versions
from ..aligners.saved import aligner_folder
from ..corpora.locations import USER
from ..embeddings.manifest import MANIFEST
from ..embeddings.store import store_folder
from ..errors import RevisionError

RECORD = "run.json"
COMPLETE = "revision_complete.json"  # the last file of a checkpoint: without it a kill cut the others short
CLAIMS: list[ClaimedFolder] = []  # held until the process ends: workers of a killed launcher live on
# what changes neither the result nor the order of the data
FREE_FLAGS = {
    "--local_rank",
    "--logging_steps",
    "--save_steps",
    "--save_total_limit",
    "--save_strategy",
    "--logging_first_step",
    "--logging_dir",
    "--disable_tqdm",
    "--report_to",
    "--run_name",
    "--project",
    "--trackio_space_id",
    "--trackio_bucket_id",
    "--trackio_static_space_id",
    "--revision_probe",
    "--revision_probe_images",
    "--revision_probe_steps",
    "--revision_probe_rows",
    "--dataloader_num_workers",
    "--output_dir",
    "--lazy_preprocess",
    "--revision_trust_remote_code",
}
# and where it lies: stores and aligners may be in the hub
READ_FLAGS: dict[str, Callable[[str], Path]] = {
    "--data_path": store_folder,
    "--revision_store": store_folder,
    "--revision_image_store": store_folder,
    "--revision_aligner": aligner_folder,
    "--revision_part_aligner": aligner_folder,
    "--pretrain_mm_mlp_adapter": Path,
    "--deepspeed": Path,
}
MODEL_FLAG = "--model_name_or_path"
FINISHED_FILES = (  # each the last one of its kind of training
    "mm_projector.bin",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "non_lora_trainables.bin",
)
KEPT = ("images", "encoder", "run_name")  # known only later in a training; the first two are compared then
LOOKED_AT_IMAGES = 20_000
SECRET_FLAG = re.compile(r"token$|key$|secret|password|credential", re.I)
SECRET_VALUE = re.compile(rf"hf_[A-Za-z0-9]{{20,}}|sk-[A-Za-z0-9_-]{{20,}}|{USER.pattern}")
GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")  # a repository may name programs to run
PACKAGES = ("llava-torch", "llava", "accelerate", "deepspeed", "peft", "bitsandbytes")


def begin(out: Path, arguments: Sequence[str], *, host: str | None = None) -> None:
    """Write OUT/run.json, with the `host` where it is none of the LLaVAs. Hold OUT for this process.

    Raises RevisionError where OUT holds checkpoints of a run with other flags, inputs or number of processes, or of
    another host, or another training writes there.
    """
    flags = parse_flags(arguments)
    model = flags.get(MODEL_FLAG)
    inputs = {flag: _identity(place(flags[flag])) for flag, place in READ_FLAGS.items() if flag in flags}
    record = {
        **({"host": host} if host else {}),
        "command": {flag: _without_secret(flag, value) for flag, value in flags.items()},
        "inputs": inputs if model is None else {**inputs, MODEL_FLAG: _model_identity(model)},
        "processes": launched_processes(),
        "versions": {**versions(PACKAGES), "python": platform.python_version()},
        "git": _git_state(),
    }
    if (out / RECORD).is_file():
        before = read_object(out / RECORD)
        if not isinstance(before.get("command"), dict):
            raise RevisionError(f"{out / RECORD}: was not written by a training; choose another --output_dir")
        if _has_checkpoints(out):
            record |= {name: before[name] for name in KEPT if name in before}

    def differences(before: dict, now: dict) -> list[str]:
        return _differences(before, now) if _has_checkpoints(out) else []

    CLAIMS.append(ClaimedFolder(out, RECORD, record, flag="--output_dir", shared=True, differences=differences))


def refuse_finished(flags: dict[str, str]) -> None:
    """Raise RevisionError where --output_dir already holds a finished run, unless it may be overwritten."""
    out = flags.get("--output_dir")
    overwrite = says_true(flags.get("--overwrite_output_dir", False))
    if out is None or overwrite:
        return
    finished = [name for name in FINISHED_FILES if (Path(out) / name).exists()]
    if not finished and (Path(out) / "config.json").is_file() and not (Path(out) / RECORD).is_file():
        finished = ["config.json"]
    if finished:
        raise RevisionError(
            f"{out}: already holds a finished run ({finished[0]}); choose another --output_dir or give "
            "--overwrite_output_dir True"
        )


def _has_checkpoints(out: Path) -> bool:
    return any(out.glob("checkpoint-*"))


def _without_secret(flag: str, value: str) -> str:
    """`value`, unless it is a key or holds one: run.json is a file that people share."""
    secret = SECRET_FLAG.search(flag) and value not in ("", "True", "False")
    return "(not recorded)" if secret else SECRET_VALUE.sub("(not recorded)", value)


def require_same_images(folder: Path, names: Sequence[str]) -> None:
    """Keep what the images of this training are. Raises RevisionError where a stopped training had others.

    They are known by name, size and time of change; of more than `LOOKED_AT_IMAGES`, so many evenly spread ones are
    looked at, since asking a network's file system for every file of a large corpus takes longer than a step is worth.
    """
    if not CLAIMS:
        return
    stride = -(-len(names) // LOOKED_AT_IMAGES)
    digest = hashlib.sha256(str(len(names)).encode())
    for name in names[::stride]:
        path = folder / name
        state = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None
        digest.update(f"{name} {state}\n".encode(errors="backslashreplace"))
    require_same("images", digest.hexdigest(), f"other images in {folder}")


def require_same(name: str, value: str, changed: str) -> None:
    """Keep `value` under `name` in the record of this process' training, if it writes one.

    Raises RevisionError, saying what has `changed`, where a stopped training kept another value.
    """
    if not CLAIMS:
        return
    out = CLAIMS[-1].folder
    record = read_object(out / RECORD)
    if record.get(name) not in (None, value):
        raise RevisionError(
            f"{out}: holds a stopped run with {changed}; put back what it had, or choose another --output_dir"
        )
    write_json(out / RECORD, {**record, name: value})


def _differences(before: dict, now: dict) -> list[str]:
    """The flags that changed, with their values, and the inputs whose content did."""
    old_flags, old_inputs = before.get("command"), before.get("inputs")
    if not isinstance(old_flags, dict) or not isinstance(old_inputs, dict):
        return ["record (run.json was edited or cut)"]
    new_flags, new_inputs = now["command"], now["inputs"]
    changed = []
    for flag in sorted((old_flags.keys() | new_flags.keys()) - FREE_FLAGS):
        old, new = (values.get(flag, "not given") for values in (old_flags, new_flags))
        if old != new:
            changed.append(f"{flag} ({old}, now {new})")
    for flag in sorted(old_inputs.keys() | new_inputs.keys()):
        if flag in old_inputs and old_inputs.get(flag) != new_inputs.get(flag):
            changed.append(f"content of its {flag}")
    if before.get("host") != now.get("host"):
        changed.append(f"host ({before.get('host', 'a LLaVA')}, now {now.get('host', 'a LLaVA')})")
    if before.get("processes") != now["processes"]:
        changed.append(f"number of processes ({before.get('processes')}, now {now['processes']})")
    return changed


def is_begun(out: Path) -> bool:
    """Whether a training with the plugin's tower writes, or wrote, in `out`."""
    return (out / RECORD).exists()


def add(out: Path, name: str, value: dict | str) -> None:
    """Add a section to OUT/run.json."""
    path = out / RECORD
    write_json(path, {**read_object(path), name: value})


def _identity(path: Path) -> str | None:
    """What a file, store or aligner contains, as a hash; None where it is not there (its reader says so)."""
    if (path / MANIFEST).is_file():
        return read_object(path / MANIFEST).get("content_hash")
    if (path / "aligner.json").is_file():
        return read_object(path / "aligner.json").get("parameters_hash")
    if (path / "config.json").is_file():  # a model, of which a projector is taken
        return weights_identity(str(path))
    return hash_file(path) if path.is_file() else None


def _model_identity(name: str) -> str | None:
    """What a language model's folder holds, as a hash over its files' sizes and ends, or its commit in the hub's cache;
    None where neither can be told.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return hash_json(outline((path for path in folder.iterdir() if path.is_file()), folder))
    cached = try_to_load_from_cache(name, "config.json") if len(Path(name).parts) == 2 else None
    return Path(cached).parent.name if isinstance(cached, str) else None


def weights_identity(name: str) -> str | None:
    """Which weights a language model's folder holds, as a hash over their sizes and ends, or its commit in the hub's
    cache; None where neither can be told.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return _model_identity(name)
    files = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin") and path.is_file()]
    return hash_json(outline(files, folder)) if files else None


def _git_state() -> dict | None:
    """Commit of the working directory's repository; None outside one. Nothing is asked of it that would read files,
    for which a repository can name programs to run.
    """
    try:
        done = subprocess.run([*GIT, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"commit": done.stdout.strip()} if done.returncode == 0 else None
