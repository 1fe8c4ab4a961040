"""The pictures of the page."""

from __future__ import annotations

from pathlib import Path

from revision_plugin.geometry.plots import COLORS, DPI, new_figure
from scripts.claims.comparison import Results
from scripts.claims.plan import BY_NAME, ENCODERS, METHODS, ON_MATCHES, OTHER, WITH_OTHER_CONTENT, cell

FLOOR = "black"


def _color(name: str) -> str:
    rows = BY_NAME[name].rows
    return COLORS["paired"] if rows == "pairs" else FLOOR if rows == "shuffled" else COLORS[BY_NAME[name].method]


def draw_cells(r: Results, folder: Path) -> str:
    """A panel an encoder and content: each seed's mean NLL given the image, and the mean of the seeds as a bar."""
    figure = new_figure(11, 2.9 * len(ENCODERS))
    panels = figure.subplots(len(ENCODERS), 2, squeeze=False, sharex="row")
    for row, encoder in enumerate(ENCODERS):
        for column, content in enumerate(("same", OTHER)):
            axes = panels[row][column]
            methods = (*(METHODS if content == "same" else WITH_OTHER_CONTENT), *ON_MATCHES)
            names = [cell(m, encoder, content=content) for m in methods if m != "bc"]
            names = [name for name in (*names, cell("paired", encoder)) if name in r]
            for place, name in enumerate(names):
                seeds = r.nll(name).mean(1)
                axes.plot(seeds, [place] * len(seeds), "o", color=_color(name), alpha=0.55, markersize=4)
                axes.plot([seeds.mean()] * 2, [place - 0.35, place + 0.35], color=_color(name), linewidth=2)
            axes.set_yticks(range(len(names)), [name.split(",")[0] for name in names])
            axes.invert_yaxis()
            axes.grid(axis="x", alpha=0.25)
            axes.set_title(encoder if content == "same" else f"{encoder}, images of {content}")
    for axes in panels[-1]:
        axes.set_xlabel("caption NLL given real images (nats a token)")
    name = "claims-cells.png"
    figure.savefig(folder / name, dpi=DPI)
    return name
