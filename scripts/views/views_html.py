"""The study of views as a page: the tables of its markdown, and each variant's share of right answers as a bar."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from plotly.graph_objects import Bar, Figure

from revision_plugin.pages import COLORS, Page, command_line, page_of_markdown, version_facts

LIMITS = (
    "Photographs, and encoders that were trained on them: this is the embedded world.",
    "Whether views are worth their tokens in a large model.",
)
A_BAR = 26  # pixels


def views_html(text: str, answers: Mapping[str, np.ndarray], seeds: int) -> Page:
    """The page of the markdown `text` and of `answers` [seeds, questions], 1 where right, by variant."""
    page = page_of_markdown(text, "Views")
    shares = sorted((100 * right.mean(1) for right in answers.values()), key=lambda each: each.mean())
    names = sorted(answers, key=lambda name: answers[name].mean())
    middles = [each.mean() for each in shares]
    spread = dict(
        array=[each.max() - middle for each, middle in zip(shares, middles)],
        arrayminus=[middle - each.min() for each, middle in zip(shares, middles)],
        color=COLORS["grey"],
        thickness=1.5,
    )
    bars = Bar(x=middles, y=names, orientation="h", marker_color=COLORS["blue"], error_x=spread)
    page.section("All variants at a glance")
    page.figure(
        Figure(bars).update_layout(xaxis_title="right answers (%)"),
        caption=f"Share of right answers, mean of {seeds} seeds; lines reach from the lowest seed to the highest.",
        alt="A bar a variant, the best at the top.",
        height=110 + A_BAR * len(names),
    )
    page.facts("What was run", {"command": command_line(), **version_facts()})
    page.limits(LIMITS)
    return page
