"""The papers' table of eleven benchmarks, in markdown, CSV and JSON, and beside them its page."""

from __future__ import annotations

import csv
import io
import json
from itertools import groupby
from pathlib import Path

from .._common.files import read_object, write_text
from .._common.folders import require_free
from .._common.markdown import table
from .._common.validation import is_number
from ..errors import RevisionError
from ..pages import Page
from .benchmarks import BENCHMARKS
from .results import Row, Score

LABELS = {name: entry.label for name, entry in BENCHMARKS.items()}
ROUNDING = 0.01  # percent: a printed average that differs by more is not the mean of its row
POINTS = ("perception", "cognition", "questions")  # measures that are no shares


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
    clusters = f" [{score.cluster_error:.2f}]" if score.cluster_error is not None else ""
    return f"{score.accuracy:.2f}{error}{clusters}"


def _average_cell(row: Row) -> str:
    if row.average is None:
        partial = f"partial ({len(row.scores)}/{len(BENCHMARKS)})"
        return partial if row.printed is None else f"{row.printed:.2f} (printed)"
    error = f" ± {row.average_error:.2f}" if row.average_error is not None else ""
    differs = row.printed is not None and abs(row.printed - row.average) > ROUNDING
    return f"{row.average:.2f}{error}" + (f" (printed {row.printed:.2f})" if differs else "")


def _name_cell(row: Row) -> str:
    name = " ".join(row.name.split())
    return f"{name} (limited)" if row.limited else name


def table_cells(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table: accuracy ± standard error in percent, columns in the papers' order."""
    cost = any(row.relative_cost is not None for row in rows)
    head = ["run", *LABELS.values(), "average", *(["relative cost"] if cost else [])]
    lines = []
    for row in rows:
        cells = [_name_cell(row), *(_score_cell(row.scores.get(name)) for name in BENCHMARKS), _average_cell(row)]
        lines.append([*cells, *([_cost_cell(row)] if cost else [])])
    return head, lines


def markdown(rows: list[Row]) -> str:
    """The table in markdown, and below it what the numbers need to be read."""
    head, lines = table_cells(rows)
    lines = [[line[0].replace("|", "\\|"), *line[1:]] for line in lines]
    return f"{table(head, lines)}\n\n{' '.join(notes(rows))}\n"


def notes(rows: list[Row]) -> list[str]:
    """What is said below the table: units, groups, errors over clusters, other rows than the papers', the papers' own
    slips.
    """
    groups = groupby(BENCHMARKS.values(), key=lambda entry: entry.group)
    named = "; ".join(f"{group}: {', '.join(entry.label for entry in entries)}" for group, entries in groups)
    said = [f"Accuracy in percent, ± standard error over samples. {named}."]
    if any(score.cluster_error is not None for row in rows for score in row.scores.values()):
        said.append(
            "In brackets: standard error over clusters of rows that share an image or a question; the average's is of "
            "these where there are any."
        )
    for row in rows:
        said += [f"{row.name}: {line}." for line in row_counts(row)]
        said += [f"{row.name}: {row.note}."] if row.note else []
    return said


def row_counts(row: Row) -> list[str]:
    """Where a whole benchmark has other rows than the papers scored."""
    lines = []
    for name, entry in BENCHMARKS.items():
        score = row.scores.get(name)
        if score is None or score.rows is None or entry.rows is None or score.limited or score.rows == entry.rows:
            continue
        note = f" ({entry.note})" if entry.note else ""
        lines.append(f"{entry.label} has {score.rows} rows here, {entry.rows} in the papers{note}")
    return lines


def breakdown_markdown(row: Row, *, parts: bool = True) -> str:
    """Each benchmark's own measures, and with `parts` accuracy by category, subject or skill; empty where nothing was
    kept to say so.
    """
    blocks = []
    for name, score in row.scores.items():
        if score.measures:
            said = ", ".join(f"{key} {_measure(key, value)}" for key, value in score.measures.items())
            blocks.append(f"{LABELS[name]}: {said}")
        for part, values in score.parts.items() if parts else ():
            lines = [[value, f"{100 * each['accuracy']:.2f}", str(each["rows"])] for value, each in values.items()]
            blocks.append(table([f"{LABELS[name]}, {part}", "accuracy", "rows"], lines))
    return "\n\n".join(blocks)


def _measure(key: str, value: float) -> str:
    return f"{value:.1f}" if key in POINTS[:2] else f"{value:.0f}" if key in POINTS else f"{100 * value:.2f} %"


def _cost_cell(row: Row) -> str:
    return "-" if row.relative_cost is None else f"{row.relative_cost:.0%}"


def as_json(rows: list[Row]) -> list[dict]:
    """The rows as plain values."""
    return [
        {
            "run": row.name,
            "average": row.average,
            "average_error": row.average_error,
            "printed_average": row.printed,
            "partial": row.average is None,
            "limited": row.limited,
            "relative_cost": row.relative_cost,
            "other_rows": row_counts(row),
            "note": row.note,
            "scores": {name: vars(score) for name, score in row.scores.items()},
        }
        for row in rows
    ]


def as_csv(rows: list[Row]) -> str:
    """The rows as CSV, accuracy in percent; empty where a benchmark is missing."""
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(["run", *BENCHMARKS, "average", "printed_average", "limited", "relative_cost"])
    for row in rows:
        values = [round(row.scores[name].accuracy, 4) if name in row.scores else "" for name in BENCHMARKS]
        average = "" if row.average is None else round(row.average, 4)
        writer.writerow([row.name, *values, average, _or_empty(row.printed), row.limited, _or_empty(row.relative_cost)])
    return sheet.getvalue()


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value


def write_table(rows: list[Row], out: Path, page: Page) -> None:
    """Write `out`.md, `out`.csv, `out`.json, and `page` as `out`.html. Raises RevisionError where one of them is
    there.
    """
    forms = {"md": markdown(rows), "csv": as_csv(rows), "json": json.dumps(as_json(rows), indent=1) + "\n"}
    places = {ending: out.with_name(f"{out.name}.{ending}") if out.name else out for ending in (*forms, "html")}
    for place in places.values():
        require_free(place)
    out.parent.mkdir(parents=True, exist_ok=True)
    for ending, text in forms.items():
        write_text(places[ending], text)  # a name may hold a dot
    page.write(places["html"])
