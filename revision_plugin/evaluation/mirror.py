"""Benchmarks' datasets mirrored on disk as OWNER/NAME: found, checked for what is missing, and given to the tasks."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import pyarrow.parquet
import yaml
from datasets.data_files import resolve_pattern

from ..errors import RevisionError

logger = logging.getLogger(__name__)

SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(?:-[0-9a-f]{16})?(\.\w+)")
HEAD = re.compile(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.S)
DATA_FILES = (".parquet", ".arrow", ".json", ".jsonl", ".csv", ".tsv")
ARCHIVES = {"VisuLogic/VisuLogic": ("images.zip",)}  # what a dataset has beside its table


def task_folder() -> Path:
    """Where the task files are installed."""
    installed = Path(__file__).with_name("tasks")  # in a wheel; a checkout has them beside the package
    return installed if installed.is_dir() else Path(__file__).parents[2] / "eval_tasks"


def task_entry(name: str) -> dict:
    """What a task file says, functions by their names."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    return yaml.load((task_folder() / f"{name}.yaml").read_text(), Loader)


def mirrored(tasks: list[str], data_root: Path) -> dict[str, Path]:
    """The folder of each task's dataset, mirrored under `data_root` as OWNER/NAME. Raises RevisionError for those not
    there, for missing shards and for a split with other rows than its README says.
    """
    wanted = {task: task_entry(task) for task in tasks}
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
        for name in (files, *ARCHIVES.get(dataset, ())):
            if not (folder / name).is_file():
                raise RevisionError(f"{folder}: lacks {name}; {again}")
        return
    card, config = _card(folder / "README.md"), entry.get("dataset_name")
    if card is None:
        line = f"{folder}: lacks README.md, which says which files are which split"
        if config:
            raise RevisionError(f"{line} of '{config}'; {again}")
        logger.warning("%s; they are told from the files' names. %s", line, again)
        card = {}
    splits = _files_by_split(folder, card, config)
    if not any(splits.values()):
        raise RevisionError(f"{folder}: holds no data files; {again}")
    for name in _missing_shards([path.relative_to(folder).as_posix() for paths in splits.values() for path in paths]):
        raise RevisionError(f"{folder}: lacks {name}; {again}")
    said = _rows_said(card, config)
    for split, paths in splits.items():
        if all(path.suffix == ".parquet" for path in paths):
            found = sum(map(_rows_of, paths))
            if split in said and found != said[split]:
                raise RevisionError(
                    f"{folder}: its split '{split}' has {found} rows, its README.md says {said[split]}; {again}"
                )


def _files_by_split(folder: Path, card: dict, config: str | None) -> dict[str, list[Path]]:
    """The files of each split of a config, by the patterns of the card as `datasets` reads them; all data files
    where it has none.
    """
    found: dict[str, list[Path]] = {}
    for entry in _of_config(card.get("configs") or [], config).get("data_files") or []:
        if not isinstance(entry, dict):
            continue
        paths = entry.get("path")
        for pattern in paths if isinstance(paths, list) else [str(paths)]:
            try:
                resolved = resolve_pattern(pattern, base_path=str(folder))
            except FileNotFoundError:
                resolved = []
            found.setdefault(str(entry.get("split")), []).extend(map(Path, resolved))
    shown = (
        path for path in folder.rglob("*") if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return found or {"": sorted(path for path in shown if path.is_file() and path.suffix in DATA_FILES)}


def _missing_shards(names: list[str]) -> list[str]:
    """Names of shards of which others of the same set are there."""
    sets: dict[tuple[str, int, str], set[int]] = {}
    for name in names:
        shard = SHARD.fullmatch(name)
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
    head = HEAD.match(path.read_text(encoding="utf-8-sig", errors="replace"))
    try:
        card = yaml.safe_load(head[1]) if head else {}
    except yaml.YAMLError as error:
        raise RevisionError(f"{path}: its head is no YAML ({str(error).splitlines()[0]}); get it again") from None
    return card if isinstance(card, dict) else {}


def _rows_said(card: dict, config: str | None) -> dict[str, int]:
    """By split of a config: how many rows the card says."""
    infos = card.get("dataset_info") or []
    splits = _of_config(infos if isinstance(infos, list) else [infos], config).get("splits") or []
    entries = list(splits.values()) if isinstance(splits, dict) else splits
    return {
        str(entry["name"]): entry["num_examples"]
        for entry in entries
        if isinstance(entry, dict) and "name" in entry and isinstance(entry.get("num_examples"), int)
    }


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


def write_overlays(folders: dict[str, Path], out: Path, group: str | None = None) -> Path:
    """Task files that read the datasets in `folders`, as `mirrored` gives them; everything else is included from ours.
    `group`: a group's file that is copied beside them.
    """
    out.mkdir(parents=True, exist_ok=True)
    for task, folder in folders.items():
        overlay = {"include": str(task_folder() / f"{task}.yaml"), "task": task, "dataset_path": str(folder.resolve())}
        (out / f"{task}.yaml").write_text(yaml.safe_dump(overlay))
    if group:
        shutil.copyfile(task_folder() / f"{group}.yaml", out / f"{group}.yaml")
    return out
