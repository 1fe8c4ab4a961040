"""The page of `revision geometry --projected`: report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plotly.graph_objects import Figure

from ..pages import Page, cloud_color, version_facts
from .measured import SOURCE, TARGET, Geometry
from .projected import ALIGNED, TOKENS
from .projected_plot import LOOKS, PANELS

METHODS = {ALIGNED: "realign", SOURCE: "none", TARGET: "target", TOKENS: "aniso"}  # whose colours the clouds have
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")  # one a training, as are the marks
MARKS = ("circle", "square", "diamond", "triangle-up", "x")
LIMITS = (
    "Whether the model answers better. What it is given is a reason, scores are the test.",
    "How these numbers would vary with another sample or seed; this is one measurement.",
)


def projected_page(summary: str, checkpoints: list[Geometry]) -> Page:
    """The beginning of a page about the projectors of `checkpoints`: each training's last gap and the curves."""
    page = Page("The gap inside the model", summary)
    page.key_figures(
        (each.cell(ALIGNED, "relative_centroid_gap"), f"relative centroid gap, {each.settings['name']}")
        for each in {each.settings["training"]: each for each in checkpoints}.values()
    )
    placed = [each for each in checkpoints if each.settings["step"] is not None]
    if placed:
        page.section(
            "Over the steps", "The buttons switch the lines on and off; a dash and a mark of its own are a training."
        )
        for metric, title, clouds in PANELS:
            figure = curves(placed, metric, clouds)
            if figure.data:
                page.figure(figure, caption=f"{title[0].upper()}{title[1:]}.", alt=f"Lines of {title}.", height=320)
    return page


def end_page(page: Page, missing: Sequence[str], facts: Mapping[str, str]) -> None:
    """What could not be measured, what was run (`facts`), and what the page does not show."""
    if missing:
        page.section("Not measured")
        page.bullets(missing)
    page.facts("What was run", {**facts, **version_facts()})
    page.limits(LIMITS)


def curves(placed: list[Geometry], metric: str, clouds: Sequence[str]) -> Figure:
    """A metric over the steps: a line a training and cloud, a mark a checkpoint."""
    figure = Figure()
    trainings = list(dict.fromkeys(each.settings["training"] for each in placed))
    for number, training in enumerate(trainings):
        for cloud in clouds:
            points = [
                (each.settings["step"], each.metrics[cloud][metric], each.settings["name"])
                for each in placed
                if each.settings["training"] == training and metric in each.metrics.get(cloud, {})
            ]
            if points:
                steps, values, names = zip(*points)
                color = cloud_color(METHODS[cloud])
                figure.add_scatter(
                    x=steps,
                    y=values,
                    text=names,
                    mode="lines+markers",
                    name=LOOKS[cloud][0] if len(trainings) == 1 else f"{LOOKS[cloud][0]}, {training}",
                    line=dict(color=color, dash=DASHES[number % len(DASHES)], width=1.6),
                    marker=dict(color=color, size=8, symbol=MARKS[number % len(MARKS)]),
                    hovertemplate="%{text}, step %{x}: %{y:.4g}<extra></extra>",
                )
    figure.update_layout(xaxis_title="step")
    return figure
