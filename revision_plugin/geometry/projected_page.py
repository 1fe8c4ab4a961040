"""The page of `revision geometry --projected`: report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plotly.graph_objects import Figure

from ..pages import Page, cloud_color, version_facts
from .measured import Geometry, missing
from .projected import ALIGNED, ProjectedGeometry
from .projected_plot import METHODS, PANELS, lines, with_steps
from .projected_tables import NAMES, TERMS, skipped, summary, tables

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")  # one a training, as are the marks
MARKS = ("circle", "square", "diamond", "triangle-up", "x")
LIMITS = (
    "Whether the model answers better. What it is given is a reason, scores are the test.",
    "How these numbers would vary with another sample or seed; this is one measurement.",
)


def projected_page(geometry: ProjectedGeometry, facts: Mapping[str, str]) -> Page:
    """All that was measured, as a page; `facts` say what was run."""
    checkpoints = geometry.checkpoints
    page = Page("The gap inside the model", summary(geometry))
    page.key_figures(
        (each.cell(ALIGNED, "relative_centroid_gap"), f"relative centroid gap, {each.settings['name']}")
        for each in {each.settings["training"]: each for each in checkpoints}.values()  # the last of each
    )
    placed = with_steps(checkpoints)
    if placed:
        page.section(
            "Over the steps", "The buttons switch the lines on and off; a dash and a mark of its own are a training."
        )
        for metric, title, clouds in PANELS:
            figure = curves(placed, metric, clouds)
            if figure.data:
                page.figure(figure, caption=f"{title[0].upper()}{title[1:]}.", alt=f"Lines of {title}.", height=320)
    page.section("All numbers", TERMS)
    for title, head, rows in tables(checkpoints):
        page.table(head, rows, caption=title)
    reasons = missing(skipped(checkpoints))
    if reasons:
        page.section("Not measured")
        page.bullets(reasons)
    page.facts("What was run", {**facts, **version_facts()})
    page.limits(LIMITS)
    return page


def curves(placed: list[Geometry], metric: str, clouds: Sequence[str]) -> Figure:
    """A metric over the steps: a line a training and cloud, a mark a checkpoint."""
    figure = Figure()
    several = len({each.settings["training"] for each in placed}) > 1
    for number, training, cloud, points in lines(placed, metric, clouds):
        steps, values, names = zip(*points)
        color = cloud_color(METHODS[cloud])
        figure.add_scatter(
            x=steps,
            y=values,
            text=names,
            mode="lines+markers",
            name=f"{NAMES[cloud]}, {training}" if several else NAMES[cloud],
            line=dict(color=color, dash=DASHES[number % len(DASHES)], width=1.6),
            marker=dict(color=color, size=8, symbol=MARKS[number % len(MARKS)]),
            hovertemplate="%{text}, step %{x}: %{y:.4g}<extra></extra>",
        )
    figure.update_layout(xaxis_title="step")
    return figure
