"""Benchmarks' datasets mirrored on disk as OWNER/NAME: found, checked for what is missing, and given to the tasks."""

from __future__ import annotations

import logging
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pyarrow.parquet
import yaml

from ..errors import RevisionError

logger = logging.getLogger(__name__)

SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\..+)")


def task_folder() -> Path:
    """Where the task files are installed."""
    installed = Path(__file__).with_name("tasks")  # in a wheel; a checkout has them beside the package
    return installed if installed.is_dir() else Path(__file__).parents[2] / "eval_tasks"


def _task(name: str) -> dict:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    return yaml.load((task_folder() / f"{name}.yaml").read_text(), Loader)


def mirrored(tasks: list[str], data_root: Path) -> dict[str, Path]:
    """The folder of each task's dataset, mirrored under `data_root` as OWNER/NAME. Raises RevisionError for those not
    there, for missing shards and for a split with other rows than its README says.
    """
    wanted = {task: _task(task) for task in tasks}
    datasets = {task: entry["dataset_path"] for task, entry in wanted.items()}
    missing = sorted({dataset for dataset in datasets.values() if not (data_root / dataset).is_dir()})
    if missing:
        raise RevisionError(
            f"--data-root {data_root}: lacks {', '.join(missing)}; "
            f"'hf download --repo-type dataset {missing[0]} --local-dir {data_root / missing[0]}' gets one"
        )
    for task, entry in wanted.items():
        _check(data_root / datasets[task], datasets[task], entry)
    return {task: data_root / dataset for task, dataset in datasets.items()}


def _check(folder: Path, dataset: str, entry: dict) -> None:
    again = f"'hf download --repo-type dataset {dataset} --local-dir {folder}' completes it"
    files = (entry.get("dataset_kwargs") or {}).get("data_files")
    if files is not None:
        if not (folder / files).is_file():
            raise RevisionError(f"{folder}: lacks {files}; {again}")
        return
    for name in _missing_shards(folder):
        raise RevisionError(f"{folder}: lacks {name}; {again}")
    card = _card(folder / "README.md")
    config = entry.get("dataset_name")
    if card is None:
        line = f"{folder}: lacks README.md, which says which files are which split"
        if config:
            raise RevisionError(f"{line} of '{config}'; {again}")
        logger.warning("%s; they are told from the files' names. %s", line, again)
        return
    for split, (said, found) in _rows(folder, card, config).items():
        if said != found:
            raise RevisionError(f"{folder}: its split '{split}' has {found} rows, its README.md says {said}; {again}")


def _missing_shards(folder: Path) -> list[str]:
    """Names of shards of which others of the same set are there."""
    sets: dict[tuple[str, int, str], set[int]] = {}
    for path in folder.rglob("*.parquet"):
        shard = SHARD.fullmatch(path.relative_to(folder).as_posix())
        if shard:
            sets.setdefault((shard[1], int(shard[3]), shard[4]), set()).add(int(shard[2]))
    return [
        f"{name}-{number:05d}-of-{count:05d}{ending}"
        for (name, count, ending), numbers in sorted(sets.items())
        for number in range(count)
        if number not in numbers
    ]


def _card(path: Path) -> dict | None:
    """The YAML at the head of a dataset's README; None where there is no README."""
    if not path.is_file():
        return None
    parts = path.read_text(encoding="utf-8").split("---")
    try:
        card = yaml.safe_load(parts[1]) if len(parts) > 2 else {}
    except yaml.YAMLError as error:
        raise RevisionError(f"{path}: its head is no YAML ({str(error).splitlines()[0]}); get it again") from None
    return card if isinstance(card, dict) else {}


def _rows(folder: Path, card: dict, config: str | None) -> dict[str, tuple[int, int]]:
    """By split of a config: (rows its README says, rows of its parquet files), where the README says both."""
    infos = card.get("dataset_info") or []
    info = _of_config(infos if isinstance(infos, list) else [infos], config)
    layout = _of_config(card.get("configs") or [], config)
    patterns: dict[str, list[str]] = {}
    for entry in layout.get("data_files") or []:
        if isinstance(entry, dict):
            paths = entry.get("path")
            patterns[str(entry.get("split"))] = paths if isinstance(paths, list) else [str(paths)]
    found = {}
    for split in info.get("splits") or []:
        name = str(split.get("name"))
        if name in patterns and "num_examples" in split:
            paths = [
                path
                for path in folder.rglob("*.parquet")
                if any(fnmatch(path.relative_to(folder).as_posix(), pattern) for pattern in patterns[name])
            ]
            found[name] = (int(split["num_examples"]), sum(map(_rows_of, paths)))
    return found


def _of_config(entries: list, config: str | None) -> dict:
    named = [each for each in entries if isinstance(each, dict)]
    for each in named:
        if each.get("config_name", "default") == (config or "default"):
            return each
    return named[0] if len(named) == 1 and config is None else {}


def _rows_of(path: Path) -> int:
    try:
        return pyarrow.parquet.read_metadata(path).num_rows
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise RevisionError(f"{path}: no whole parquet file ({str(error).splitlines()[0]}); get it again") from None


def write_overlays(tasks: list[str], data_root: Path, out: Path, group: str | None = None) -> Path:
    """Task files that read the datasets mirrored under `data_root`; everything else is included from ours. `group`: a
    group's file that is copied beside them.
    """
    folders = mirrored(tasks, data_root)
    out.mkdir(parents=True, exist_ok=True)
    for task, folder in folders.items():
        overlay = {"include": str(task_folder() / f"{task}.yaml"), "task": task, "dataset_path": str(folder.resolve())}
        (out / f"{task}.yaml").write_text(yaml.safe_dump(overlay))
    if group:
        shutil.copyfile(task_folder() / f"{group}.yaml", out / f"{group}.yaml")
    return out
