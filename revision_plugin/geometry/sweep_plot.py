"""A picture of the sweep over the frame's energy."""

from __future__ import annotations

from pathlib import Path

from .measured import Numbers
from .plots import new_figure, save

LEFT, RIGHT, CHANCE = "#0072B2", "#D55E00", "#777777"
# title, log scale, the curves: (metric, label, colour, dashes)
PANELS = (
    (
        "shares in U and V",
        False,
        (("COB_share", "COB of the squared bias", LEFT, "-"), ("residual_coverage_U", r"$\eta_U$", RIGHT, "-")),
    ),
    (
        "condition numbers of the residual",
        True,
        (
            ("condition_U", r"$\kappa(U)$", RIGHT, "-"),
            ("condition_V", r"$\kappa(V)$", LEFT, "-"),
            ("condition_V_isotropic", r"$\kappa(V)$ of isotropic rows", CHANCE, ":"),
        ),
    ),
    (
        "bias in V to the noise's main direction (degrees)",
        False,
        (
            ("bias_angle", "bias angle", LEFT, "-"),
            ("bias_angle_chance", "random direction, mean", CHANCE, ":"),
            ("bias_angle_chance_low", "random direction, 5 % quantile", CHANCE, "--"),
        ),
    ),
    (
        "coupling of V to U",
        False,
        (("coupling_R2", "$R^2$", LEFT, "-"), ("coupling_norm", "spectral norm", RIGHT, "-")),
    ),
)


def plot_sweep(sweep: Numbers, folder: Path) -> str:
    """Write sweep.png and sweep.svg: four panels against the energy of U; returns the PNG's name."""
    figure = new_figure(10, 6.4)
    figure.suptitle("The raw pairs in frames of several energies", fontsize=11)
    energies = list(sweep.metrics)
    for axes, (title, log, curves) in zip(figure.subplots(2, 2).flat, PANELS):
        for metric, label, color, dashes in curves:
            points = [
                (k, sweep.metrics[name][metric]) for k, name in enumerate(energies) if metric in sweep.metrics[name]
            ]
            if points:
                axes.plot(*zip(*points), color=color, linestyle=dashes, marker="o", markersize=3, label=label)
        axes.set_xticks(range(len(energies)), energies, fontsize=8)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("energy of U: share of the variance of both", fontsize=8)
        if log:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
        if axes.lines:
            axes.legend(fontsize=8, frameon=False)
    return save(figure, folder, "sweep")
