"""`revision evaluate`: scores a checkpoint through lmms-eval's own command and checks that results came."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from .._common.devices import choose_device
from .._common.distributed import torchrun
from .._common.files import hash_json, read_object, write_text
from .._common.folders import ClaimedFolder
from .._common.processes import start_child
from ..errors import RevisionError
from ..hosts.quantized import require_bitsandbytes
from .answer_file import clear_rows, fingerprints
from .documents import DATA_ROOT
from .harness_flags import read_flags
from .mirror import mirrored, task_folder, write_overlays
from .placement import number_of_bits, require_checkpoint, require_device_map
from .results import CIDER, METRIC, SETTINGS, read_results, result_files
from .run_environment import RUN, checkpoint_state
from .shown_output import ShownOutput

logger = logging.getLogger(__name__)

GROUP = "revision_bench"
DATA = "data.json"
CACHE = ".datasets-"
DATASETS_CACHES = ("HF_DATASETS_CACHE", "LMMS_EVAL_DATASETS_CACHE")  # lmms-eval prefers its own name
ERROR_LINE = re.compile(r"^[A-Za-z_.]*(?:Error|Exception): (.+)$", re.M)


def expand(tasks: list[str]) -> list[str]:
    """Task names, groups replaced by their tasks; a name may go without `revision_`. Raises RevisionError for an
    unknown one.
    """
    names, task_names = [], {path.stem for path in task_folder().glob("revision_*.yaml")}
    for task in tasks:
        name = task if task.startswith("revision_") else f"revision_{task}"
        if name not in task_names:
            raise RevisionError(f"no task '{task}'; there are {', '.join(sorted(task_names))}")
        if name == GROUP:
            names += yaml.safe_load((task_folder() / f"{name}.yaml").read_text())["task"]
        else:
            names.append(name)
    return list(dict.fromkeys(names))


def is_whole_group(tasks: list[str]) -> bool:
    """Whether these are the eleven benchmarks, so that lmms-eval can report their mean."""
    return set(tasks) == set(expand([GROUP]))


def evaluate(
    model: Path,
    tasks: list[str],
    out: Path,
    *,
    base: str | None = None,
    data_root: Path | None = None,
    blind: bool = False,
    limit: float | None = None,
    batch_size: int | str = 8,
    device: str | None = None,
    processes: int = 1,
    trust_remote_code: bool = False,
    load_4bit: bool = False,
    load_8bit: bool = False,
    device_map: str | None = None,
    harness: Sequence[str] = (),
    start: Callable[..., Any] = start_child,
) -> dict[str, float]:
    """Score the checkpoint `model` on `tasks` into the folder `out`; accuracy by task (CIDEr of captions). A stopped
    run is resumed by the same call.

    `limit` is a number of rows of each task, or a share below 1; `batch_size` may be "auto"; `harness` are flags of
    lmms-eval's own command line; `start` starts that command, as `subprocess.Popen` does. Raises RevisionError where
    lmms-eval gives no result for a task, with its first error; the whole log is kept.
    """
    if find_spec("lmms_eval") is None:
        raise RevisionError("lmms-eval is not installed; 'pip install lmms-eval==0.7.3'")
    tasks = expand(tasks)
    # at once, not after lmms-eval's long start; each process chooses its own device there
    flags = read_flags(harness, batch_size=batch_size)
    bits = number_of_bits(load_4bit, load_8bit)
    require_bitsandbytes(bits)
    require_device_map(device_map, device, choose_device(device), processes)
    for note in flags.notes:
        logger.warning(note)
    require_checkpoint(model, base)
    settings = {"model": str(model.resolve()), "base": _base_name(base), "blind": blind, "limit": limit}
    settings["checkpoint"] = hash_json([checkpoint_state(str(model)), checkpoint_state(base) if base else None])
    settings |= {**({"bits": bits} if bits else {}), **flags.settings}
    folders = mirrored(tasks, data_root) if data_root is not None else None  # before anything is written
    with ClaimedFolder(out, SETTINGS, settings), _datasets_cache(out, data_root) as cache:
        group = GROUP if is_whole_group(tasks) else None
        folder = task_folder() if folders is None else write_overlays(folders, out / "tasks", group)
        arguments = {
            "pretrained": str(model.resolve()),
            "base": _base_name(base),
            "blind": blind,
            "answers": str((out / "answers").resolve()),
            "trust_remote_code": trust_remote_code,
            "load_4bit": load_4bit,
            "load_8bit": load_8bit,
            "device_map": device_map,
        }
        names = [GROUP] if is_whole_group(tasks) else tasks
        launcher = torchrun(processes) if processes > 1 else []
        command = [
            sys.executable,
            "-P",
            *launcher,
            "-m",
            "revision_plugin.evaluation.lmms",
            "--model",
            "llava_revision",
            "--tasks",
            ",".join(names),
            "--include_path",
            str(folder),
            "--batch_size",
            str(batch_size),
            "--output_path",
            "results",
            "--log_samples",
            "--force_simple",
            *(["--limit", str(limit)] if limit is not None else []),
            *(["--device", device] if device else []),
            *flags.words,
        ]
        environment = {
            "TORCH_WARM_POOL": "0",
            **os.environ,
            **cache,
            "PYTHONSAFEPATH": "1",
            RUN: json.dumps({"output": str(out), "model": arguments}),
            **({DATA_ROOT: str(data_root.resolve())} if data_root else {}),
        }
        if processes > 1 and device == "cpu":
            environment["ACCELERATE_USE_CPU"] = "true"  # else lmms-eval's accelerator looks for GPUs
        clear_rows(out / "answers")
        before = set(result_files(out))
        log = out / "lmms_eval.log"
        _run(start, command, log, environment)
        scored = accuracies([path for path in result_files(out) if path not in before])
        _require_results(scored, tasks, log)
        _record_data(out, data_root)
        return scored


def _record_data(out: Path, data_root: Path | None) -> None:
    """Write which rows and images the scores are about: by task their number and hash, beside those of other tasks."""
    path = out / DATA
    known = read_object(path) if path.exists() else {}
    place = {"data_root": str(data_root.resolve()) if data_root else None}
    new = {task: {**entry, **place} for task, entry in fingerprints(out / "answers").items()}
    for task, entry in new.items():
        before = known.get(task) or entry
        if before["fingerprint"] != entry["fingerprint"]:
            logger.warning("%s: its rows or images are not those of the scores before", task)
    write_text(path, json.dumps({**known, **new}, indent=1) + "\n")


def _base_name(base: str | None) -> str | None:
    return str(Path(base).resolve()) if base is not None and Path(base).is_dir() else base


@contextlib.contextmanager
def _datasets_cache(out: Path, data_root: Path | None) -> Iterator[dict[str, str]]:
    """The environment in which mirrored datasets are read as they are now: `datasets` takes a folder with a README card
    for another one of that name that it has read before. What it makes of them is dropped at the end.
    """
    if data_root is None:
        yield {}
        return
    for leftover in out.glob(f"{CACHE}*"):  # of a run that was killed
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=CACHE, dir=out) as folder:
        yield dict.fromkeys(DATASETS_CACHES, str(Path(folder).resolve()))


def _run(start: Callable[..., Any], command: list[str], log: Path, environment: dict) -> None:
    """Run `command`, its output kept in `log`, and what a user wants of it shown on standard error."""
    with open(log, "wb") as log_file, ShownOutput() as output:
        process = start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, bufsize=0)
        try:
            while process.stdout and (part := process.stdout.read(4096)):
                log_file.write(part)
                output.write(part)
            process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise


def _require_results(scored: dict[str, float], tasks: list[str], log: Path) -> None:
    missing = [task for task in tasks if task not in scored]
    if not missing:
        return
    text = log.read_text(encoding="utf-8", errors="replace")
    errors = ERROR_LINE.findall(text)
    revision_errors = re.findall(r"RevisionError: (.+)", text)
    reason = (revision_errors or errors or ["lmms-eval gave no reason"])[0]
    raise RevisionError(f"no result for {', '.join(missing)}: {reason} (whole log in {log})")


def accuracies(files: list[Path]) -> dict[str, float]:
    """Accuracy of every task in these result files (CIDEr of captions); of one scored more than once, the last."""
    results = (item for path in files for item in read_results(path).items())
    return {task: result[name] for task, result in results for name in (METRIC, CIDER) if name in result}


def replies(out: Path, task: str) -> list[tuple[str, float]]:
    """The reply to every row of `task` under `out`, in the rows' order, with its score; of the newest run."""
    files = sorted(out.rglob(f"*_samples_{task}.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    if not files:
        raise RevisionError(f"{out}: no samples of {task} in it")
    rows = [json.loads(line) for line in files[-1].read_text(encoding="utf-8").split("\n") if line]
    return [(str(row["filtered_resps"]), float(row["acc"])) for row in sorted(rows, key=lambda row: row["doc_id"])]
