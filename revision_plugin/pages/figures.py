"""Plotly figures inside a page: their colours on light and dark, and their JSON as a script element can hold it."""

from __future__ import annotations

import json
from typing import Any

from markupsafe import Markup
from plotly.graph_objects import Figure
from plotly.io import to_json

# after Okabe and Ito, whose palette colour-blind readers can tell apart: darker on white, lighter on black, so that
# each has contrast with its background; name -> (light, dark)
PALETTE = {
    "ink": ("#1f2328", "#e6edf3"),
    "orange": ("#c65102", "#ff8f4a"),
    "amber": ("#b77700", "#f0b429"),
    "pink": ("#b0578d", "#e79cc4"),
    "blue": ("#0a6ab0", "#5ab0f0"),
    "grey": ("#767b82", "#9aa2ab"),
    "olive": ("#7d7100", "#d3c64a"),
    "green": ("#00805f", "#3ecfa3"),
    "sky": ("#2b8fc4", "#8fd3fb"),
}
COLORS = {name: light for name, (light, _) in PALETTE.items()}
ON_DARK = dict(PALETTE.values())
CLOUDS = {
    "target": "ink",
    "none": "orange",
    "mean_shift": "amber",
    "c3": "pink",
    "realign": "blue",
    "bc": "grey",
    "monge": "olive",
    "aniso": "green",
    "paired": "sky",
}
FADE = "24"  # about a seventh, as the last two digits of #rrggbbaa


def cloud_color(method: str) -> str:
    """The colour of an aligner's method, of the `target` and of `paired` images: the same on every page."""
    return COLORS[CLOUDS.get(method, "sky")]


def faded(color: str) -> str:
    """A colour of `COLORS`, mostly transparent: for areas below or between lines."""
    return color + FADE


def dark_colors() -> dict[str, str]:
    """Each colour that a figure may have on a light page, and its partner on a dark one."""
    return ON_DARK | {faded(light): faded(dark) for light, dark in ON_DARK.items()}


def figure_json(figure: Figure | dict) -> dict[str, Any]:
    """The traces and the layout of a figure as plain values, without plotly's own template."""
    value = json.loads(to_json(Figure(figure), validate=False))
    value["layout"].pop("template", None)
    return {"data": value["data"], "layout": value["layout"]}


def script_json(value: Any) -> Markup:
    """JSON that a script element can hold: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
