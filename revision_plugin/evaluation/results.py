"""lmms-eval's result files: the scores of one run, with what their rows say of errors and breakdowns."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path

from .._common.files import is_count, read_object
from .._common.validation import is_number
from ..errors import RevisionError
from . import breakdown
from .benchmarks import BENCHMARKS

logger = logging.getLogger(__name__)

METRIC = "acc,none"
CIDER = "coco_CIDEr,none"  # of captions, which are neither right nor wrong
SUBMISSIONS = "submissions"  # lmms-eval's folder
SETTINGS = "evaluation.json"  # beside the results: what `revision evaluate` was asked
# Of a model's arguments to lmms-eval, those that do not change its answers.
PLACES = ("device", "batch_size", "max_batch_size", "answers")


@dataclass
class Score:
    """Accuracy and standard errors in percent, over rows and over clusters of rows; `scored_rows` of `rows` samples
    were scored (None where not recorded). `measures` and `parts` as `breakdown` gives them.
    """

    accuracy: float
    error: float | None = None
    scored_rows: int | None = None
    rows: int | None = None
    cluster_error: float | None = None
    measures: dict[str, float] = field(default_factory=dict)
    parts: dict[str, dict[str, dict]] = field(default_factory=dict)

    @property
    def limited(self) -> bool:
        return self.scored_rows is not None and self.rows is not None and self.scored_rows < self.rows


@dataclass
class Row:
    """One run: its name and the benchmarks it has scores for. `printed`: the average a paper prints, `note`: what is
    said of it.
    """

    name: str
    scores: dict[str, Score] = field(default_factory=dict)
    relative_cost: float | None = None
    printed: float | None = None
    note: str = ""

    @property
    def average(self) -> float | None:
        """The plain mean of the eleven, or None where one is missing."""
        if set(self.scores) < set(BENCHMARKS):
            return None
        return sum(self.scores[name].accuracy for name in BENCHMARKS) / len(BENCHMARKS)

    @property
    def average_error(self) -> float | None:
        """Standard error of the average: the benchmarks are independent samples, their rows by clusters where there are
        any.
        """
        scores = [self.scores.get(name) for name in BENCHMARKS]
        errors = [
            score.error if score.cluster_error is None else score.cluster_error for score in scores if score is not None
        ]
        known = [error for error in errors if error is not None]
        if self.average is None or len(known) < len(BENCHMARKS):
            return None
        return math.sqrt(sum(error**2 for error in known)) / len(BENCHMARKS)

    @property
    def limited(self) -> bool:
        return any(score.limited for score in self.scores.values())


def result_files(folder: Path) -> list[Path]:
    """lmms-eval's result files under `folder`, oldest first; what it wrote to be submitted elsewhere is none."""
    files = (path for path in folder.rglob("*_results.json") if SUBMISSIONS not in path.relative_to(folder).parts)
    return sorted(files, key=lambda path: (path.name, path.stat().st_mtime_ns))  # a name begins with its date


def read_results(path: Path) -> dict[str, dict]:
    """By task what a result file of lmms-eval says. Raises RevisionError for any other file."""
    return _results(read_object(path), path)


def _results(record: dict, path: Path) -> dict[str, dict]:
    results = record.get("results")
    if not isinstance(results, dict) or not all(isinstance(each, dict) for each in results.values()):
        raise RevisionError(f"{path}: holds no results by task; score again, or delete it")
    numbers = [each[METRIC] for each in results.values() if METRIC in each]
    if not all(is_number(value) and value <= 1 for value in numbers):
        raise RevisionError(f"{path}: an accuracy is no number from 0 to 1; score again, or delete it")
    return results


def _counts(record: dict, path: Path) -> dict[str, dict]:
    """By task how many rows it has and how many were scored. Raises RevisionError for anything else."""
    counts = record.get("n-samples") or {}
    parts = counts.values() if isinstance(counts, dict) else [None]
    if not all(isinstance(part, dict) and all(map(is_count, part.values())) for part in parts):
        raise RevisionError(f"{path}: its numbers of samples are none; score again, or delete it")
    return counts


def _asked(path: Path, folder: Path, record: dict) -> dict:
    """Which model gave a result file, and how it was asked: by `revision evaluate`, or by lmms-eval's own command."""
    for parent in path.relative_to(folder).parents:
        settings = folder / parent / SETTINGS
        if settings.is_file():
            return read_object(settings)
    config = record.get("config")
    if not isinstance(config, dict):
        return {}
    arguments = config.get("model_args") or {}
    if isinstance(arguments, str):
        arguments = dict(part.partition("=")[::2] for part in arguments.split(",") if part)
    kept = {name: str(value) for name, value in arguments.items() if name not in PLACES}
    return {"model": config.get("model"), "model_args": kept, "gen_kwargs": config.get("gen_kwargs") or None}


def _samples(path: Path, task: str, accuracy: float, count: int | None) -> breakdown.Samples:
    """The samples that lmms-eval wrote beside a result file, in their rows' order; empty where it wrote none, or where
    they are not those of the result.
    """
    file = path.with_name(f"{path.name.removesuffix('_results.json')}_samples_{task}.jsonl")
    if not file.is_file():
        return []
    try:
        samples = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
        samples.sort(key=lambda sample: sample["doc_id"])
        whole = all(is_number(sample["acc"]) and _is_described(sample.get("clustered")) for sample in samples)
        mean = breakdown.mean(sample["acc"] for sample in samples) if samples else None
        same = mean is not None and abs(mean - accuracy) < 1e-6 and len(samples) == (count or len(samples))
    except (ValueError, KeyError, TypeError) as error:
        raise RevisionError(f"{file}: no samples of lmms-eval ({error}); score again, or delete it") from None
    if not same:
        logger.warning("%s: not the samples of %s; its errors and breakdown are left out", file, path.name)
    return samples if whole and same else []


def _is_described(row: object) -> bool:
    """Whether a sample says what a breakdown needs: its name and its parts."""
    return isinstance(row, dict) and isinstance(row.get("parts"), dict)


def read_row(folder: Path) -> Row:
    """All benchmark scores under `folder`; of a benchmark scored more than once, the newest.

    Raises RevisionError where there is none, and where they are not of one model, asked in one way: with images or
    blind, on whole benchmarks or on parts of them.
    """
    files = result_files(folder) if folder.is_dir() else []
    row, asked = Row(folder.resolve().name), {}
    for path in files:
        record = read_object(path)
        results, counts = _results(record, path), _counts(record, path)
        for name in BENCHMARKS:
            task = f"revision_{name}"
            if METRIC not in results.get(task, {}):
                continue
            accuracy, count = float(results[task][METRIC]), counts.get(task, {})
            samples = _samples(path, task, accuracy, count.get("effective"))
            row.scores[name] = _score(name, results[task], count, samples)
            asked[name] = _asked(path, folder, record)
    if not row.scores:
        raise RevisionError(f"{folder}: no lmms-eval results of the eleven benchmarks (*_results.json) in it")
    _require_one(folder, asked, row)
    return row


def read_samples(folder: Path) -> dict[str, breakdown.Samples]:
    """By benchmark the samples of its newest score under `folder`; empty where lmms-eval wrote none of it."""
    found: dict[str, breakdown.Samples] = {}
    for path in result_files(folder):
        record = read_object(path)
        results, counts = _results(record, path), _counts(record, path)
        for name in BENCHMARKS:
            task = f"revision_{name}"
            if METRIC in results.get(task, {}):
                count = counts.get(task, {}).get("effective")
                found[name] = _samples(path, task, float(results[task][METRIC]), count)
    return found


def _score(name: str, result: dict, count: dict, samples: breakdown.Samples) -> Score:
    error = result.get("acc_stderr,none")
    clusters = breakdown.cluster_error(name, samples)
    return Score(
        100 * result[METRIC],
        100 * float(error) if is_number(error) else None,
        count.get("effective"),
        count.get("original"),
        100 * clusters if clusters is not None else None,
        breakdown.measures(name, samples) if samples else {},
        breakdown.by_part(samples),
    )


def _require_one(folder: Path, asked: dict[str, dict], row: Row) -> None:
    ways = sorted({json.dumps(each, sort_keys=True) for each in asked.values()})
    if len(ways) > 1:
        raise RevisionError(
            f"{folder}: its results are not of one model, asked in one way ({'; '.join(ways)}); give a folder for each"
        )
    limited = {name for name, score in row.scores.items() if score.limited}
    if limited and len(limited) < len(row.scores):
        raise RevisionError(
            f"{folder}: {', '.join(sorted(limited))} is of a part of the rows, the others of all; score it whole, or "
            "give a folder for each"
        )
