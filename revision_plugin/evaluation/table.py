"""The papers' table of eleven benchmarks, from lmms-eval's result files."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from .._common.files import is_count, read_object, write_text
from .._common.folders import require_free
from .._common.markdown import table
from .._common.validation import is_number
from ..errors import RevisionError

GROUPS = {
    "General": {"mme": "MME", "mmstar": "MMStar", "scienceqa": "SQA", "realworldqa": "RWQA"},
    "Knowledge and reasoning": {
        "mmmu": "MMMU",
        "mmmu_pro": "MMMU-Pro",
        "visulogic": "VisuLogic",
        "logicvista": "LogicVista",
    },
    "Hallucination": {"crpe": "CRPE", "pope": "POPE", "hallusionbench": "HallusionBench"},
}
BENCHMARKS = {name: label for group in GROUPS.values() for name, label in group.items()}
METRIC = "acc,none"


@dataclass
class Score:
    """Accuracy and standard error in percent; `scored_rows` of `rows` samples were scored (None where not recorded)."""

    accuracy: float
    error: float | None = None
    scored_rows: int | None = None
    rows: int | None = None

    @property
    def limited(self) -> bool:
        return self.scored_rows is not None and self.rows is not None and self.scored_rows < self.rows


@dataclass
class Row:
    """One run: its name and the benchmarks it has scores for."""

    name: str
    scores: dict[str, Score] = field(default_factory=dict)
    relative_cost: float | None = None

    @property
    def average(self) -> float | None:
        """The plain mean of the eleven, or None where one is missing."""
        if set(self.scores) < set(BENCHMARKS):
            return None
        return sum(self.scores[name].accuracy for name in BENCHMARKS) / len(BENCHMARKS)

    @property
    def average_error(self) -> float | None:
        """Standard error of the average: the benchmarks are independent samples."""
        errors = [score.error for name in BENCHMARKS if (score := self.scores.get(name)) and score.error is not None]
        if self.average is None or len(errors) < len(BENCHMARKS):
            return None
        return math.sqrt(sum(error**2 for error in errors)) / len(BENCHMARKS)

    @property
    def limited(self) -> bool:
        return any(score.limited for score in self.scores.values())


def result_files(folder: Path) -> list[Path]:
    """lmms-eval's result files under `folder`, oldest first."""
    return sorted(folder.rglob("*_results.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def _counts(record: dict, path: Path) -> dict[str, dict]:
    """By task how many rows it has and how many were scored. Raises RevisionError for anything else."""
    counts = record.get("n-samples") or {}
    parts = counts.values() if isinstance(counts, dict) else [None]
    if not all(isinstance(part, dict) and all(map(is_count, part.values())) for part in parts):
        raise RevisionError(f"{path}: its numbers of samples are none; score again, or delete it")
    return counts


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


def read_row(folder: Path) -> Row:
    """All benchmark scores under `folder`; of a benchmark scored more than once, the newest.

    Raises RevisionError where there is none.
    """
    files = result_files(folder) if folder.is_dir() else []
    row = Row(folder.name)
    for path in files:
        record = read_object(path)
        results, counts = _results(record, path), _counts(record, path)
        for name in BENCHMARKS:
            result = results.get(f"revision_{name}", {})
            if METRIC not in result:
                continue
            count, error = counts.get(f"revision_{name}", {}), result.get("acc_stderr,none")
            row.scores[name] = Score(
                100 * result[METRIC],
                100 * float(error) if is_number(error) else None,
                count.get("effective"),
                count.get("original"),
            )
    if not row.scores:
        raise RevisionError(f"{folder}: no lmms-eval results of the eleven benchmarks (*_results.json) in it")
    return row


def published_rows() -> list[Row]:
    """The papers' own rows."""
    rows = json.loads(Path(__file__).with_name("published.json").read_text())["rows"]
    return [Row(name, {b: Score(value) for b, value in zip(BENCHMARKS, values)}) for name, values in rows.items()]


def read_cost(path: str) -> float:
    """The relative cost in a file of `scripts/cost.py`. Raises RevisionError for another file."""
    cost = read_object(Path(path)).get("relative_cost")
    if not is_number(cost):
        raise RevisionError(f"{path}: holds no relative_cost; write it with scripts/cost.py")
    return float(cost)


def _score_cell(score: Score | None) -> str:
    if score is None:
        return "-"
    error = f" ± {score.error:.2f}" if score.error is not None else ""
    return f"{score.accuracy:.2f}{error}"


def _average_cell(row: Row) -> str:
    if row.average is None:
        return f"partial ({len(row.scores)}/{len(BENCHMARKS)})"
    error = f" ± {row.average_error:.2f}" if row.average_error is not None else ""
    return f"{row.average:.2f}{error}"


def _name_cell(row: Row) -> str:
    return f"{row.name} (limited)" if row.limited else row.name


def markdown(rows: list[Row]) -> str:
    """The table in markdown: accuracy ± standard error in percent, columns in the papers' order."""
    cost = any(row.relative_cost is not None for row in rows)
    head = ["run", *([*BENCHMARKS.values()]), "average", *(["relative cost"] if cost else [])]
    lines = []
    for row in rows:
        cells = [_name_cell(row), *(_score_cell(row.scores.get(name)) for name in BENCHMARKS), _average_cell(row)]
        lines.append([*cells, *([_cost_cell(row)] if cost else [])])
    groups = "; ".join(f"{group}: {', '.join(labels.values())}" for group, labels in GROUPS.items())
    return f"{table(head, lines)}\n\nAccuracy in percent, ± standard error over samples. {groups}.\n"


def _cost_cell(row: Row) -> str:
    return "-" if row.relative_cost is None else f"{row.relative_cost:.0%}"


def as_json(rows: list[Row]) -> list[dict]:
    """The rows as plain values."""
    return [
        {
            "run": row.name,
            "average": row.average,
            "average_error": row.average_error,
            "partial": row.average is None,
            "limited": row.limited,
            "relative_cost": row.relative_cost,
            "scores": {name: vars(score) for name, score in row.scores.items()},
        }
        for row in rows
    ]


def as_csv(rows: list[Row]) -> str:
    """The rows as CSV, accuracy in percent; empty where a benchmark is missing."""
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(["run", *BENCHMARKS, "average", "limited", "relative_cost"])
    for row in rows:
        values = [round(row.scores[name].accuracy, 4) if name in row.scores else "" for name in BENCHMARKS]
        average = "" if row.average is None else round(row.average, 4)
        writer.writerow(
            [row.name, *values, average, row.limited, row.relative_cost if row.relative_cost is not None else ""]
        )
    return sheet.getvalue()


def write_table(rows: list[Row], out: Path) -> None:
    """Write `out`.md, `out`.csv and `out`.json. Raises RevisionError where one of them is there."""
    forms = {"md": markdown(rows), "csv": as_csv(rows), "json": json.dumps(as_json(rows), indent=1) + "\n"}
    for ending in forms:
        require_free(out.with_name(f"{out.name}.{ending}") if out.name else out)
    out.parent.mkdir(parents=True, exist_ok=True)
    for ending, text in forms.items():
        write_text(out.with_name(f"{out.name}.{ending}"), text)  # a name may hold a dot
