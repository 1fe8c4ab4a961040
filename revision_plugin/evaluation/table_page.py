"""The page of `revision table`: the table, bars with intervals, and samples to look at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from plotly.graph_objects import Bar, Figure

from ..pages import COLORS, Page, version_facts
from .contact_sheet import ContactSheet
from .results import Row
from .table import LABELS, notes, table_cells

SUMMARY = "Accuracy on the papers' eleven benchmarks, a row a run, with what the runs replied."
RUNS = ("blue", "orange", "green", "pink", "amber", "sky", "olive", "ink")  # colours of ours, in their order
NORMAL = 1.96  # standard errors on each side of a 95 % interval
MOST_PARTS = 24  # bars of a run in one figure
LIMITS = (
    "What another seed or another training would give: intervals are over the questions alone.",
    "How a published row was scored: its numbers are as the paper prints them.",
)


def table_page(rows: Sequence[Row], sheet: ContactSheet, *, command: str) -> Page:
    """The page of these runs, published rows among them."""
    page = Page("Scores", SUMMARY)
    averages = [(row.name, row.average) for row in rows if row.average is not None]
    page.key_figures((f"{average:.2f} %", f"average of {name}") for name, average in averages)
    page.section("The table")
    page.table(*table_cells([*rows]))
    page.text(" ".join(notes([*rows])))
    page.section("By benchmark")
    page.figure(
        _benchmarks(rows),
        caption="Accuracy in percent; lines are 95 % intervals (1.96 standard errors, over clusters of rows where "
        "there are any). A published row has none.",
        alt="Bars of accuracy by benchmark, one for each run.",
    )
    _parts(page, rows)
    if sheet.cards:
        page.section("Look for yourself")
        page.pictures(
            sheet.cards,
            caption=f"{len(sheet.cards)} samples, chosen evenly among each benchmark's. The edge is blue where the "
            "reply is right, orange where it is not.",
        )
    page.facts("What was run", {"command": command, "runs": ", ".join(row.name for row in rows), **version_facts()})
    missing = ["Replies: the results hold no samples."] if not sheet.cards else sheet.notes
    page.limits([*LIMITS, *missing])
    return page


def _colors(rows: Sequence[Row]) -> Iterable[tuple[Row, str]]:
    """Each row with its colour; those of papers, which have no standard errors, are grey."""
    ours = iter(RUNS * len(rows))
    for row in rows:
        measured = any(score.error is not None for score in row.scores.values())
        yield row, COLORS[next(ours) if measured else "grey"]


def _benchmarks(rows: Sequence[Row]) -> Figure:
    figure = Figure()
    names = [name for name in LABELS if any(name in row.scores for row in rows)]
    for row, color in _colors(rows):
        scores = [row.scores.get(name) for name in names]
        errors = [None if s is None else s.error if s.cluster_error is None else s.cluster_error for s in scores]
        values = [None if s is None else s.accuracy for s in scores]
        half = [0 if error is None else NORMAL * error for error in errors]
        figure.add_trace(_bar([LABELS[name] for name in names], values, half, row.name, color))
    return _styled(figure)


def _parts(page: Page, rows: Sequence[Row]) -> None:
    """A figure for each way in which a benchmark's questions fall into few kinds."""
    ways = {(name, part) for row in rows for name, score in row.scores.items() for part in score.parts}
    for name, part in sorted(ways):
        found = [(row, color, row.scores[name].parts[part]) for row, color in _colors(rows) if _has(row, name, part)]
        kinds = sorted({kind for _, _, values in found for kind in values})
        if not 1 < len(kinds) <= MOST_PARTS:
            continue
        figure = Figure()
        for row, color, values in found:
            each = [values.get(kind) for kind in kinds]
            shares = [None if v is None else 100 * v["accuracy"] for v in each]
            half = [0 if v is None else 100 * NORMAL * _binomial_error(v["accuracy"], v["rows"]) for v in each]
            figure.add_trace(_bar(kinds, shares, half, row.name, color))
        page.figure(
            _styled(figure),
            caption=f"{LABELS[name]} by {part}: accuracy in percent with 95 % intervals (1.96 standard errors of "
            "independent rows).",
            alt=f"Bars of accuracy by {part}, one for each run.",
            height=360,
        )


def _has(row: Row, name: str, part: str) -> bool:
    return name in row.scores and part in row.scores[name].parts


def _binomial_error(share: float, count: int) -> float:
    return math.sqrt(share * (1 - share) / count) if count else 0.0


def _bar(x: list[str], y: list, half: list[float], name: str, color: str) -> Bar:
    error = dict(array=half, color=COLORS["grey"], thickness=1.5, width=3, visible=any(half))
    return Bar(x=x, y=y, name=name, marker_color=color, error_y=error)


def _styled(figure: Figure) -> Figure:
    return figure.update_layout(barmode="group", bargap=0.25, yaxis_title="accuracy (%)", yaxis_rangemode="tozero")
