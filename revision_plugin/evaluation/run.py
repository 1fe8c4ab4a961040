"""`revision evaluate`: scores a checkpoint through lmms-eval's own command and checks that results came."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import yaml

from .._common.devices import choose_device
from .._common.distributed import torchrun
from .._common.files import hash_json
from .._common.folders import ClaimedFolder
from .._common.processes import start_child
from ..errors import RevisionError
from ..hosts import find_host
from .documents import DATA_ROOT
from .run_environment import RUN, checkpoint_state
from .table import METRIC, read_results, result_files

GROUP = "revision_bench"
SETTINGS = "evaluation.json"
CACHE = ".datasets-"
ERROR_LINE = re.compile(r"^[A-Za-z_.]*(?:Error|Exception): (.+)$", re.M)


def task_folder() -> Path:
    """Where the task files are installed."""
    installed = Path(__file__).with_name("tasks")  # in a wheel; a checkout has them beside the package
    return installed if installed.is_dir() else Path(__file__).parents[2] / "eval_tasks"


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


def mirrored(tasks: list[str], data_root: Path) -> dict[str, Path]:
    """The folder of each task's dataset, mirrored under `data_root` as OWNER/NAME. Raises RevisionError for those
    not there.
    """

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    datasets = {task: yaml.load((task_folder() / f"{task}.yaml").read_text(), Loader)["dataset_path"] for task in tasks}
    missing = sorted({dataset for dataset in datasets.values() if not (data_root / dataset).is_dir()})
    if missing:
        raise RevisionError(
            f"--data-root {data_root}: lacks {', '.join(missing)}; "
            f"'hf download --repo-type dataset {missing[0]} --local-dir {data_root / missing[0]}' gets one"
        )
    return {task: data_root / dataset for task, dataset in datasets.items()}


def write_overlays(tasks: list[str], data_root: Path, out: Path) -> Path:
    """Task files that read the datasets mirrored under `data_root`; everything else is included from ours."""
    folders = mirrored(tasks, data_root)
    out.mkdir(parents=True, exist_ok=True)
    for task, folder in folders.items():
        overlay = {"include": str(task_folder() / f"{task}.yaml"), "task": task, "dataset_path": str(folder.resolve())}
        (out / f"{task}.yaml").write_text(yaml.safe_dump(overlay))
    if is_whole_group(tasks):
        shutil.copyfile(task_folder() / f"{GROUP}.yaml", out / f"{GROUP}.yaml")
    return out


def evaluate(
    model: Path,
    tasks: list[str],
    out: Path,
    *,
    base: str | None = None,
    data_root: Path | None = None,
    blind: bool = False,
    limit: int | None = None,
    batch_size: int = 8,
    device: str | None = None,
    processes: int = 1,
    trust_remote_code: bool = False,
) -> dict[str, float]:
    """Score the checkpoint `model` on `tasks` into the folder `out`; accuracy by task. A stopped run is resumed by the
    same call.

    Raises RevisionError where lmms-eval gives no result for a task, with its first error; the whole log is kept.
    """
    if find_spec("lmms_eval") is None:
        raise RevisionError("lmms-eval is not installed; 'pip install lmms-eval==0.7.3'")
    tasks = expand(tasks)
    choose_device(device)  # at once, not after lmms-eval's long start; each process chooses its own there
    _check_model(model, base)
    settings = {"model": str(model.resolve()), "base": _base_name(base), "blind": blind, "limit": limit}
    settings["checkpoint"] = hash_json([checkpoint_state(str(model)), checkpoint_state(base) if base else None])
    if data_root is not None:
        mirrored(tasks, data_root)  # before anything is written
    with ClaimedFolder(out, SETTINGS, settings), _datasets_cache(out, data_root) as cache:
        folder = task_folder() if data_root is None else write_overlays(tasks, data_root, out / "tasks")
        arguments = {
            "pretrained": str(model.resolve()),
            "base": _base_name(base),
            "blind": blind,
            "answers": str((out / "answers").resolve()),
            "trust_remote_code": trust_remote_code,
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
            *(["--limit", str(limit)] if limit is not None else []),
            *(["--device", device] if device else []),
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
        before = set(result_files(out))
        log = out / "lmms_eval.log"
        _run(command, log, environment)
        scored = accuracies([path for path in result_files(out) if path not in before])
        _require_results(scored, tasks, log)
        return scored


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
        yield {"HF_DATASETS_CACHE": str(Path(folder).resolve())}


def _check_model(model: Path, base: str | None) -> None:
    """Fail at once on what would fail after lmms-eval's long start."""
    host = find_host()
    host.check()
    if not model.is_dir():
        raise RevisionError(f"{model}: no such checkpoint; give the --output_dir of a finished training")
    host.check_checkpoint(model, base)


def _run(command: list[str], log: Path, environment: dict) -> None:
    """Run `command`, its output shown on standard error and kept in `log`."""
    with open(log, "wb") as log_file:
        process = start_child(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, bufsize=0)
        try:
            while process.stdout and (part := process.stdout.read(4096)):
                log_file.write(part)
                sys.stderr.buffer.write(part)
                sys.stderr.flush()
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
    """Accuracy of every task in these result files; of one scored more than once, the last."""
    results = (item for path in files for item in read_results(path).items())
    return {task: result[METRIC] for task, result in results if METRIC in result}


def replies(out: Path, task: str) -> list[tuple[str, float]]:
    """The reply to every row of `task` under `out`, in the rows' order, with its score; of the newest run."""
    files = sorted(out.rglob(f"*_samples_{task}.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    if not files:
        raise RevisionError(f"{out}: no samples of {task} in it")
    rows = [json.loads(line) for line in files[-1].read_text(encoding="utf-8").splitlines()]
    return [(str(row["filtered_resps"]), float(row["acc"])) for row in sorted(rows, key=lambda row: row["doc_id"])]
