"""Pictures of a `Geometry`: the same colour for the same aligner everywhere, legends outside, PNG and SVG."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter
from scipy.stats import gaussian_kde

from .measured import SOURCE, TARGET, Geometry

# Okabe and Ito's palette, which colour-blind readers can tell apart; its yellow darkened, to be seen on white
COLORS = {
    "target": "#000000",
    "none": "#D55E00",
    "mean_shift": "#E69F00",
    "c3": "#CC79A7",
    "realign": "#0072B2",
    "bc": "#8C8C8C",
    "monge": "#B3A100",
    "aniso": "#009E73",
    "paired": "#56B4E9",
}
DASHES = {
    "target": "-",
    "none": "-",
    "realign": "-",
    "mean_shift": (0, (5, 2)),
    "c3": (0, (1, 1.5)),
    "bc": (0, (5, 1, 1, 1)),
    "monge": (0, (6, 1, 1, 1, 1, 1)),
    "aniso": (0, (3, 1)),
    "paired": "-",
}
DPI = 150
ACROSS = "from the target's centroid to the raw source's"
BESIDE = "first principal component of the rest"
PICTURED = 1500  # rows a cloud in the PCA view: more only paint it over


def new_figure(width: float, height: float):
    """A figure [inches] of its own canvas: no global state of pyplot."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure, folder: Path, name: str) -> str:
    """Write NAME.png and NAME.svg; returns the PNG's name."""
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    figure.savefig(folder / f"{name}.png", dpi=DPI)
    return f"{name}.png"


def plot_all(geometry: Geometry, folder: Path) -> dict[str, str]:
    """Write all pictures that the measurements allow; title -> PNG name."""
    made = {"PCA of the target and the raw source": _pca(geometry, folder), "Across the gap": _gap(geometry, folder)}
    if geometry.spectra:
        made["Eigenspectra"] = _spectra(geometry, folder)
    if geometry.cosines:
        made["Pairwise cosines"] = _cosines(geometry, folder)
    if geometry.overlaps:
        made["Shared subspaces"] = _overlaps(geometry, folder)
    if geometry.residual_energy:
        made["Anisotropy of the residual"] = _residual_energy(geometry, folder)
    if any("PMB" in metrics for metrics in geometry.metrics.values()):
        made["Decomposition of the paired difference"] = _decomposition(geometry, folder)
    return made


def _style(geometry: Geometry, cloud: str) -> dict:
    method = TARGET if cloud == TARGET else geometry.methods[cloud]
    dashes = DASHES.get(method, "-")
    above = 2 if dashes == "-" else 3  # where two lines fall together, the dashes show both
    return {
        "color": COLORS.get(method, "#56B4E9"),
        "linestyle": dashes,
        "linewidth": 1.6,
        "label": cloud,
        "zorder": above,
    }


def _lines(geometry: Geometry, folder: Path, name: str, curves: dict, *, reference=None, **labels) -> str:
    figure = new_figure(7.5, 4.2)
    axes = figure.subplots()
    for cloud, (x, y) in curves.items():
        axes.plot(x, y, **_style(geometry, cloud))
    if reference is not None:
        axes.plot(*reference[:2], color="#555555", linewidth=0.9, linestyle=":", label=reference[2])
    axes.set(**labels)
    if labels.get("xscale") == "log":
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False)
    return save(figure, folder, name)


def gap_view(target: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(centre [d], directions [d, 2]) of a picture of two clouds [n, d] that shows their gap.

    Across: from the target's centroid to the source's. Up: the first principal component of what is left, of both
    clouds. The gap's own direction need not be among the first components of the union.
    """
    centre, gap = (target.mean(0) + source.mean(0)) / 2, source.mean(0) - target.mean(0)
    across = gap / max(np.linalg.norm(gap), np.finfo(float).tiny)
    rest = np.concatenate([rows - rows.mean(0) for rows in (target, source)])
    rest = rest - np.outer(rest @ across, across)
    return centre, np.stack([across, np.linalg.eigh(rest.T @ rest)[1][:, -1]], 1)


def principal_view(target: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(centre [d], first two principal components [d, 2], their shares of the variance [2]) of both clouds [n, d]
    together, each weighing as much as the other.

    ReVision's figure 6 is such a PCA; the paper does not say what it is fitted on. Aligned texts are left out of the
    fit, so all panels have the same axes.
    """
    centre = (target.mean(0) + source.mean(0)) / 2
    covariance = sum((rows - centre).T @ (rows - centre) / len(rows) for rows in (target, source))
    values, vectors = np.linalg.eigh(covariance)
    return centre, vectors[:, :-3:-1], values[:-3:-1] / values.sum()


def _pca(geometry: Geometry, folder: Path) -> str:
    """ReVision's figure 6, with the mixing rate in each panel's title as there."""
    centre, directions, shares = principal_view(geometry.samples[TARGET], geometry.samples[SOURCE])
    first, second = (
        f"principal component {number} ({share:.0%} of the variance)" for number, share in enumerate(shares, 1)
    )
    title = "PCA fitted on the target and the raw source; in the titles the share of the other among 20 neighbours"
    return _panels(geometry, folder, "pca", centre, directions, title, (first, second), mixing=True)


def _gap(geometry: Geometry, folder: Path) -> str:
    centre, directions = gap_view(geometry.samples[TARGET], geometry.samples[SOURCE])
    title = "Each source cloud (coloured) and the target (black), across the gap"
    return _panels(geometry, folder, "gap", centre, directions, title, (ACROSS, BESIDE))


def _panels(
    geometry: Geometry,
    folder: Path,
    name: str,
    centre: np.ndarray,
    directions: np.ndarray,
    title: str,
    labels: tuple[str, str],
    *,
    mixing: bool = False,
) -> str:
    """A panel a source cloud, before the target, in the plane of two directions [d, 2]."""
    clouds = [cloud for cloud in geometry.samples if cloud != TARGET]
    columns = min(3, len(clouds))
    lines = -(-len(clouds) // columns)
    figure = new_figure(max(3.1 * columns + 0.3, 5), 2.9 * lines + 0.7)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(clouds) :]:
        axes.set_visible(False)
    images = geometry.samples[TARGET]
    for axes, cloud in zip(panels.flat, clouds):
        for rows, color in ((images, COLORS[TARGET]), (geometry.samples[cloud], _style(geometry, cloud)["color"])):
            x, y = ((rows[:: -(-len(rows) // PICTURED)] - centre) @ directions).T
            axes.scatter(x, y, s=5, alpha=0.4, color=color, linewidths=0)
        rate = geometry.metrics.get(cloud, {}).get("mixing_rate")
        shown = f"{cloud}: {rate:.2%} mixed" if mixing and rate is not None else cloud
        axes.set_title(shown, fontsize=10, color=_style(geometry, cloud)["color"])
        axes.grid(alpha=0.2)
    figure.suptitle(title, fontsize=10, wrap=True)
    figure.supxlabel(labels[0], fontsize=9)
    figure.supylabel(labels[1], fontsize=9)
    return save(figure, folder, name)


def _spectra(geometry: Geometry, folder: Path) -> str:
    # the target's trace, as ReVision normalises them (appendix D.1)
    level = next(iter(geometry.spectra.values())).sum()
    curves = {}
    for cloud, values in geometry.spectra.items():
        nonzero_values = values[values > 1e-9 * values[0]]
        curves[cloud] = np.arange(1, len(nonzero_values) + 1), nonzero_values * level / values.sum()
    title = "Eigenspectra, scaled to one trace"
    return _lines(
        geometry, folder, "spectra", curves, title=title, xlabel="rank", ylabel="eigenvalue", xscale="log", yscale="log"
    )


def _cosines(geometry: Geometry, folder: Path) -> str:
    samples = {cloud: sample for cloud, sample in geometry.cosines.items() if np.ptp(sample) > 1e-9}
    everything = np.concatenate(list(samples.values())) if samples else np.zeros(1)
    grid = np.linspace(everything.min(), everything.max(), 300)
    curves = {cloud: (grid, gaussian_kde(sample)(grid)) for cloud, sample in samples.items()}
    title = "Cosines of random pairs within each cloud"
    return _lines(geometry, folder, "cosines", curves, title=title, xlabel="cosine", ylabel="density")


def _overlaps(geometry: Geometry, folder: Path) -> str:
    curves = {
        cloud: (list(overlap_by_rank), list(overlap_by_rank.values()))
        for cloud, overlap_by_rank in geometry.overlaps.items()
    }
    counts = max((x for x, _ in curves.values()), key=len)
    chance = [q / geometry.settings["dim"] for q in counts]
    return _lines(
        geometry,
        folder,
        "subspace_overlap",
        curves,
        reference=(counts, chance, "independent: q / d"),
        xscale="log",
        title="Overlap of the top-q subspaces with the target's",
        xlabel="q",
        ylabel="overlap $O_q$",
        ylim=(0, 1.03),
    )


def _residual_energy(geometry: Geometry, folder: Path) -> str:
    curves = {cloud: (np.arange(1, len(e) + 1), e) for cloud, e in geometry.residual_energy.items()}
    ranks = np.arange(1, geometry.settings["dim"] + 1)
    isotropic = (ranks, ranks / len(ranks), "isotropic: K / d")
    return _lines(
        geometry,
        folder,
        "residual_energy",
        curves,
        reference=isotropic,
        xscale="log",
        ylim=(0, 1.03),
        xlabel="K",
        title="Variance of the paired residual in its top K directions",
        ylabel="share of variance E(K)",
    )


def _decomposition(geometry: Geometry, folder: Path) -> str:
    clouds = [cloud for cloud, metrics in geometry.metrics.items() if "PMB" in metrics]
    parts = {
        "PMB": ("bias in U", "#0072B2"),
        "COB": ("bias in V", "#56B4E9"),
        "residual_U": ("residual in U", "#E69F00"),
        "residual_V": ("residual in V", "#F0E442"),
    }
    figure = new_figure(7.5, 0.45 * len(clouds) + 1.6)
    axes = figure.subplots()
    left = np.zeros(len(clouds))
    for name, (label, color) in parts.items():
        widths = np.array([geometry.metrics[cloud][name] for cloud in clouds])
        axes.barh(clouds, widths, left=left, color=color, label=label, edgecolor="white", linewidth=0.5)
        left += widths
    axes.invert_yaxis()
    axes.set(title="What the mean squared paired difference is made of", xlabel=r"$E\|e_x - e_y\|^2$")
    figure.legend(loc="outside right upper", frameon=False)
    return save(figure, folder, "decomposition")
