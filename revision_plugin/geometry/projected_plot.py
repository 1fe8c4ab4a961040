"""The curves of the gap inside the model over the steps of trainings."""

from __future__ import annotations

from pathlib import Path

from matplotlib.lines import Line2D

from .measured import SOURCE, TARGET, Geometry
from .plots import COLORS, new_figure, save
from .projected import ALIGNED, TOKENS

LOOKS = {
    ALIGNED: ("aligned texts", COLORS["realign"]),
    SOURCE: ("raw texts", COLORS["none"]),
    TARGET: ("images", COLORS["target"]),
    TOKENS: ("token embeddings", COLORS["aniso"]),
}
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


def plot_projected(checkpoints: list[Geometry], folder: Path) -> str | None:
    """Write over_steps.png and over_steps.svg: a panel a metric, a line a training and cloud, a mark a checkpoint.

    Returns the PNG's name; None where no checkpoint has a step.
    """
    placed = [each for each in checkpoints if each.settings["step"] is not None]
    if not placed:
        return None
    trainings = list(dict.fromkeys(each.settings["training"] for each in placed))
    figure = new_figure(11, 6.6)
    for axes, (metric, label, clouds) in zip(figure.subplots(2, 3).flat, PANELS):
        for index, training in enumerate(trainings):
            for cloud in clouds:
                points = [
                    (each.settings["step"], each.metrics[cloud][metric])
                    for each in placed
                    if each.settings["training"] == training and metric in each.metrics.get(cloud, {})
                ]
                if points:
                    marker = MARKERS[index % len(MARKERS)]
                    axes.plot(*zip(*points), color=LOOKS[cloud][1], marker=marker, markersize=4, linewidth=1.4)
        axes.set(title=label, xlabel="step")
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.25)
    handles = [Line2D([], [], color=color, label=label) for label, color in LOOKS.values()]
    if len(trainings) > 1:
        handles += [
            Line2D([], [], color="#555555", linestyle="", marker=MARKERS[index % len(MARKERS)], label=training)
            for index, training in enumerate(trainings)
        ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return save(figure, folder, "over_steps")
