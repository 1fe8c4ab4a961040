"""The claims as a page: the text of claims.md, and the likelihoods of every cell as dots that can be switched off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from plotly.graph_objects import Figure, Scatter

from revision_plugin.pages import cloud_color, page_of_markdown, version_facts
from scripts.claims.comparison import Results
from scripts.claims.plan import ENCODERS, METHODS, cell

HTML = "report.html"
LIMITS = (
    "The papers' models: small worlds and small encoders were used here.",
    "Anything that an interval holds both signs of; where this run cannot tell, it says so.",
)


def write_html(r: Results, markdown: Path, *, command: str, machine: str, wall: float) -> Path:
    """Write report.html beside the page `markdown`, from its text and from the results."""
    page = page_of_markdown(markdown.read_text(encoding="utf-8"), "Claims")
    page.section("Likelihoods at a glance")
    page.figure(
        _likelihoods(r),
        caption="What a held-out scene's caption costs given its image after Stage 1, in nats a token: a dot a seed, "
        "lower is better. `paired` has trained on real images.",
        alt="Dots by encoder, a colour a method of Stage 1.",
        height=480,
    )
    facts = {"command": command, "machine": machine, "time": f"{wall / 60:.0f} minutes", **version_facts()}
    page.facts("What was run", facts)
    page.limits(LIMITS)
    return page.write(markdown.with_name(HTML))


def _likelihoods(r: Results) -> Figure:
    figure = Figure()
    for method in (*METHODS, "paired"):
        x: list[str] = []
        y: list[float] = []
        for encoder in ENCODERS:
            name = cell(method, encoder)
            if name in r:
                seeds = np.asarray(r.nll(name)).mean(1)
                x += [encoder] * len(seeds)
                y += seeds.tolist()
        if x:
            marker = dict(color=cloud_color(method), size=9, opacity=0.75)
            figure.add_trace(Scatter(x=x, y=y, name=method, mode="markers", marker=marker))
    return figure.update_layout(yaxis_title="NLL given the image (nats a token)")
