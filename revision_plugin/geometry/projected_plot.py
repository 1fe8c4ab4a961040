"""The curves of the gap inside the model over the steps of trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.lines import Line2D

from .measured import SOURCE, TARGET, Geometry
from .plots import COLORS, new_figure, save
from .projected import ALIGNED, TOKENS
from .projected_tables import NAMES

METHODS = {ALIGNED: "realign", SOURCE: "none", TARGET: "target", TOKENS: "aniso"}  # whose colours the clouds have
MARKERS = "osD^vP*X"  # one a training
TEXTS, VISUAL = (ALIGNED, SOURCE), (ALIGNED, SOURCE, TARGET)
PANELS = [
    ("relative_centroid_gap", "centroid gap / root of the images' trace", TEXTS),
    ("covariance_gap", "relative covariance gap", TEXTS),
    ("js_divergence", "JS divergence of cosines (nats)", TEXTS),
    ("mixing_rate", "share of images among 20 neighbours", TEXTS),
    ("norm_mean", "mean norm", (*VISUAL, TOKENS)),
    ("nearest_token_cosine", "cosine to the nearest token embedding", VISUAL),
]


def with_steps(checkpoints: list[Geometry]) -> list[Geometry]:
    """Those that can be drawn over steps."""
    return [each for each in checkpoints if each.settings["step"] is not None]


def lines(
    placed: list[Geometry], metric: str, clouds: Sequence[str]
) -> Iterator[tuple[int, str, str, list[tuple[int, float, str]]]]:
    """Number and name of a training, a cloud, and the line of its checkpoints: step, value and name of each."""
    for number, training in enumerate(dict.fromkeys(each.settings["training"] for each in placed)):
        for cloud in clouds:
            points = [
                (each.settings["step"], each.metrics[cloud][metric], each.settings["name"])
                for each in placed
                if each.settings["training"] == training and metric in each.metrics.get(cloud, {})
            ]
            if points:
                yield number, training, cloud, points


def plot_projected(checkpoints: list[Geometry], folder: Path) -> str | None:
    """Write over_steps.png and over_steps.svg: a panel a metric, a line a training and cloud, a mark a checkpoint.

    Returns the PNG's name; None where no checkpoint has a step.
    """
    placed = with_steps(checkpoints)
    if not placed:
        return None
    trainings = list(dict.fromkeys(each.settings["training"] for each in placed))
    figure = new_figure(11, 6.6)
    for axes, (metric, label, clouds) in zip(figure.subplots(2, 3).flat, PANELS):
        for index, _, cloud, points in lines(placed, metric, clouds):
            steps, values, _ = zip(*points)
            marker = MARKERS[index % len(MARKERS)]
            axes.plot(steps, values, color=COLORS[METHODS[cloud]], marker=marker, markersize=4, linewidth=1.4)
        axes.set(title=label, xlabel="step")
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.25)
    looks = [(NAMES[cloud], COLORS[method]) for cloud, method in METHODS.items()]
    handles = [Line2D([], [], color=color, label=label) for label, color in looks]
    if len(trainings) > 1:
        handles += [
            Line2D([], [], color="#555555", linestyle="", marker=MARKERS[index % len(MARKERS)], label=training)
            for index, training in enumerate(trainings)
        ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return save(figure, folder, "over_steps")
