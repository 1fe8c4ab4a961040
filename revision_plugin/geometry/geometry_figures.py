"""Plotly figures of a `Geometry`: clouds whose points can be read, spectra, densities, the sweep."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from plotly.graph_objects import Bar, Figure, Scatter
from scipy.stats import gaussian_kde

from ..pages import COLORS, Card, cloud_color
from .measured import SOURCE, TARGET, Geometry
from .points import Points
from .report_tables import RAW

DASHES = {"mean_shift": "dash", "c3": "dot", "bc": "dashdot", "monge": "longdash", "aniso": "dash"}
SYMBOLS = {"target": "circle", "none": "diamond"}
PARTS = {  # of the mean squared paired difference
    "PMB": ("bias in U", "blue"),
    "COB": ("bias in V", "sky"),
    "residual_U": ("residual in U", "orange"),
    "residual_V": ("residual in V", "amber"),
}
DIGITS = 4  # of a point's place: more are not seen


def label(cloud: str) -> str:
    return RAW if cloud == SOURCE else cloud


def _method(geometry: Geometry, cloud: str) -> str:
    return TARGET if cloud == TARGET else geometry.methods[cloud]


def cloud_figure(
    geometry: Geometry, points: Points, centre: np.ndarray, directions: np.ndarray, titles: tuple[str, str]
) -> tuple[Figure, list[Card]]:
    """All clouds in the plane of two directions [d, 2], and the cards of their points. Of several aligners the first
    is switched on.
    """
    figure = Figure()
    cards: list[Card] = []
    first: dict[str, int] = {}
    for kind in (SOURCE, TARGET):
        first[kind] = len(cards)
        cards += points.cards_of(kind)
    aligners = [cloud for cloud in geometry.methods if cloud != SOURCE]
    for cloud, rows in geometry.samples.items():
        x, y = ((rows[points.of(cloud, len(rows))] - centre) @ directions).T.round(DIGITS)
        method = _method(geometry, cloud)
        start = first[TARGET if cloud == TARGET else SOURCE]
        numbers = list(range(start, start + len(x))) if points.cards_of(cloud) else None
        marker = dict(size=6, opacity=0.6, color=cloud_color(method), symbol=SYMBOLS.get(method, "square"))
        figure.add_scatter(
            x=x.astype(np.float32),
            y=y.astype(np.float32),
            mode="markers",
            name=label(cloud),
            marker=marker,
            customdata=numbers,
            visible="legendonly" if cloud in aligners[1:] else True,
        )
    figure.update_layout(xaxis_title=titles[0], yaxis_title=titles[1])
    return figure, cards


def spectra_figure(geometry: Geometry) -> Figure:
    """Eigenvalues against their rank, each cloud scaled to the target's trace, as ReVision's appendix D.1 has it."""
    level = next(iter(geometry.spectra.values())).sum()
    curves = {}
    for cloud, values in geometry.spectra.items():
        nonzero = values[values > 1e-9 * values[0]]
        curves[cloud] = np.arange(1, len(nonzero) + 1), nonzero * level / values.sum()
    return _lines(geometry, curves, "rank", "eigenvalue", xaxis_type="log", yaxis_type="log")


def cosine_figure(geometry: Geometry) -> Figure:
    """Densities of the cosines of random pairs of rows within each cloud."""
    samples = {cloud: sample for cloud, sample in geometry.cosines.items() if np.ptp(sample) > 1e-9}
    everything = np.concatenate([*samples.values()]) if samples else np.zeros(1)
    grid = np.linspace(everything.min(), everything.max(), 200)
    curves = {cloud: (grid, gaussian_kde(sample)(grid)) for cloud, sample in samples.items()}
    return _lines(geometry, curves, "cosine of two random rows", "density")


def overlap_figure(geometry: Geometry) -> Figure:
    """The share O_q of the top-q subspace that a cloud has in common with the target, and what chance gives."""
    curves = {cloud: ([*by_rank], [*by_rank.values()]) for cloud, by_rank in geometry.overlaps.items()}
    counts = max((x for x, _ in curves.values()), key=len)
    reference = counts, [count / geometry.settings["dim"] for count in counts], "independent: q / d"
    return _lines(geometry, curves, "q", "overlap O_q", reference, xaxis_type="log", yaxis_range=[0, 1.03])


def residual_figure(geometry: Geometry) -> Figure:
    """The share of the paired residual's variance in its top K directions, and that of an isotropic one."""
    curves = {cloud: (np.arange(1, len(e) + 1), e) for cloud, e in geometry.residual_energy.items()}
    ranks = np.arange(1, geometry.settings["dim"] + 1)
    reference = ranks, ranks / len(ranks), "isotropic: K / d"
    return _lines(geometry, curves, "K", "share of variance E(K)", reference, xaxis_type="log", yaxis_range=[0, 1.03])


def decomposition_figure(geometry: Geometry) -> Figure:
    """The parts of the mean squared paired difference, a bar a cloud."""
    clouds = [cloud for cloud, metrics in geometry.metrics.items() if "PMB" in metrics][::-1]
    figure = Figure()
    for part, (name, color) in PARTS.items():
        values = [geometry.metrics[cloud][part] for cloud in clouds]
        figure.add_trace(Bar(y=[*map(label, clouds)], x=values, name=name, orientation="h", marker_color=COLORS[color]))
    return figure.update_layout(barmode="stack", xaxis_title="mean squared distance of a text and its image")


def sweep_figure(geometry: Geometry, curves: Iterable[tuple[str, str, str, str]], title: str, log: bool) -> Figure:
    """Numbers of the raw pairs against the energy of U; `curves` are (metric, name, colour, dash)."""
    figure, metrics = Figure(), geometry.sweep.metrics
    for metric, name, color, dash in curves:
        energies = [energy for energy in metrics if metric in metrics[energy]]
        values = [metrics[energy][metric] for energy in energies]
        line = dict(color=COLORS[color], dash=dash)
        figure.add_trace(Scatter(x=energies, y=values, name=name, mode="lines+markers", line=line))
    figure.update_xaxes(type="category", title="energy of U: share of the variance of both")
    return figure.update_yaxes(title=title, **({"type": "log"} if log else {"rangemode": "tozero"}))


def _lines(geometry: Geometry, curves: dict, x_title: str, y_title: str, reference=None, **layout) -> Figure:
    figure = Figure()
    for cloud, (x, y) in curves.items():
        method = _method(geometry, cloud)
        line = dict(color=cloud_color(method), dash=DASHES.get(method, "solid"), width=2)
        figure.add_trace(Scatter(x=x, y=np.asarray(y, np.float32), name=label(cloud), mode="lines", line=line))
    if reference is not None:
        x, y, name = reference
        line = dict(color=COLORS["grey"], dash="dot", width=1.5)
        figure.add_trace(Scatter(x=x, y=y, name=name, mode="lines", line=line))
    figure.update_xaxes(dtick=1 if layout.get("xaxis_type") == "log" else None)
    return figure.update_layout(xaxis_title=x_title, yaxis_title=y_title, **layout)
