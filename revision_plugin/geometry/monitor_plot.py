"""Figure 2 of ReVision from a monitor's log."""

from __future__ import annotations

from pathlib import Path

from .plots import new_figure, save

LEFT, RIGHT = "#0072B2", "#D55E00"
# title, (left metric, its label, log scale), (right metric, its label, log scale)
PANELS = [
    ("(a) gradient leakage", ("leak", r"leakage $\|P_V g\|/\|g\|$", False), ("sine", r"$\sin\theta(U_t, U)$", False)),
    ("(b) bias in V", ("step_cosine", r"$\cos(\gamma_t, \gamma_{t-1})$", False), ("drift", "relative drift", False)),
    ("(c) residual in U", ("condition_U", r"$\kappa(\Sigma_U)$", True), ("rho_align", r"$\rho_{align}$", False)),
    (
        "(d) residual in V",
        ("condition_V", r"$\kappa(\Sigma_V)$", True),
        ("bias_angle", "angle of bias to noise (degrees)", False),
    ),
]


def plot_monitor(records: list[dict], folder: Path, *, freeze_step: int, title: str) -> str:
    """Write figure2.png and figure2.svg into `folder`: four panels against the step; returns the PNG's name."""
    figure = new_figure(10, 6.6)
    figure.suptitle(title, fontsize=11)
    for axes, (name, *sides) in zip(figure.subplots(2, 2).flat, PANELS):
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step")
        axes.axvline(freeze_step, color="#999999", linestyle=":", linewidth=1)
        for side_axes, color, (metric, label, log) in zip((axes, axes.twinx()), (LEFT, RIGHT), sides):
            points = [(row["step"], row[metric]) for row in records if row.get(metric) is not None]
            if points:
                side_axes.plot(*zip(*points), color=color, linewidth=1.4)
            if log and points:
                side_axes.set_yscale("log")
            side_axes.set_ylabel(label, color=color)
            side_axes.tick_params(axis="y", colors=color)
    figure.text(
        0.5, -0.02, "dotted: the step from which the basis U is fixed", ha="center", fontsize=9, color="#555555"
    )
    return save(figure, folder, "figure2")
