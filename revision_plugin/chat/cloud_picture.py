"""The clouds of an embedding space as a picture to hover over, and the place of an image in it."""

from __future__ import annotations

import html
import textwrap

import plotly.graph_objects as go

from .embedding_space import ALIGNED, IMAGES, TEXTS, EmbeddingSpace, Sight

# of Okabe and Ito's palette, which colour-blind readers can tell apart; all are seen on white and on black
COLORS = {TEXTS: "#D55E00", IMAGES: "#8C8C8C", ALIGNED: "#3A9BD9"}
THIS_IMAGE = "#CC79A7"
GREY = "#8C8C8C"  # of what is written: read on white and on black
LINES = {"gridcolor": "rgba(140, 140, 140, 0.25)", "zerolinecolor": "rgba(140, 140, 140, 0.25)"}
LINE = 60  # characters of a caption in the box that hovering opens


def draw(space: EmbeddingSpace, sight: Sight) -> go.Figure:
    """The plane of the first two principal components of texts and images, with the image that was looked at."""
    figure = go.Figure()
    for name, points in space.points.items():
        captions = [] if name == IMAGES else [_boxed(text) for text in space.captions]
        figure.add_scatter(
            x=points[:, 0].round(4).tolist(),
            y=points[:, 1].round(4).tolist(),
            mode="markers",
            name=name,
            marker={"color": COLORS[name], "size": 5, "opacity": 0.55},
            text=captions,
            hovertemplate=f"%{{text}}<extra>{name}</extra>" if captions else f"<extra>{name}</extra>",
        )
    figure.add_scatter(
        x=[float(sight.place[0])],
        y=[float(sight.place[1])],
        mode="markers",
        name="this image",
        marker={
            "color": THIS_IMAGE,
            "size": 17,
            "symbol": "star-diamond",
            "line": {"color": "white", "width": 1.5},
        },
        hovertemplate="this image<extra></extra>",
    )
    first, second = (f"component {number} ({share:.0%} of variance)" for number, share in enumerate(space.shares, 1))
    figure.update_layout(
        xaxis={"title": first, **LINES},
        yaxis={"title": second, **LINES},
        font={"color": GREY},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        margin={"l": 10, "r": 10, "t": 40, "b": 10},
        height=420,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    return figure


def _boxed(text: str) -> str:
    """A caption in lines, with nothing in it that plotly would take for markup."""
    return "<br>".join(
        html.escape(line) for line in textwrap.wrap(text, LINE, max_lines=4, placeholder=" …", break_on_hyphens=False)
    )
