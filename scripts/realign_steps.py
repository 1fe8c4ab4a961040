"""Draws ReAlign's three steps on a circle: `python -m scripts.realign_steps --out docs/pictures`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from revision_plugin import ReAlign
from revision_plugin.geometry.plots import COLORS, new_figure, save

ROWS = 150
TEXTS, IMAGES = (0.95, 0.13), (1.75, 0.22)  # mean and standard deviation of the angles, in radians


def on_the_circle(rng: np.random.Generator, mean: float, deviation: float) -> np.ndarray:
    """Unit-norm float64 rows [ROWS, 2] about the angle `mean`."""
    angles = rng.normal(mean, deviation, ROWS)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def steps(texts: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
    """The rows [N, 2] that each step of a fit on `texts` and `images` makes of the texts."""
    fitted = ReAlign().fit(texts, images)
    mu_y, mu_x = fitted.parameters["source_mean"], fitted.parameters["target_mean"]
    moved = mu_x + fitted.parameters["scale"].item() * (texts - mu_y)
    return {
        "raw": texts,
        "1 and 2: moved and scaled": moved,
        "projected: a drift is left": ReAlign(centroid_rounds=0).fit(texts, images).transform(texts),
        "3: moved again, projected": fitted.transform(texts),
    }


def draw(texts: np.ndarray, images: np.ndarray, folder: Path) -> str:
    """One panel a step; the name of the picture written into `folder`."""
    figure = new_figure(7.5, 4.3)
    made = steps(texts, images)
    circle = np.linspace(0, 2 * np.pi, 200)
    for axes, (title, rows) in zip(figure.subplots(2, 2).flat, made.items()):
        axes.plot(np.cos(circle), np.sin(circle), color="0.8", linewidth=1)
        for name, points, color in (("images", images, COLORS["target"]), ("texts", rows, COLORS["none"])):
            axes.scatter(*points.T, s=14, alpha=0.5, color=color, linewidths=0, label=name)
            axes.scatter(*points.mean(0), s=160, marker="+", color=color, linewidths=2.5)
        gap = np.linalg.norm(rows.mean(0) - images.mean(0))
        axes.set(
            title=f"{title}\ngap {gap:.5f}", aspect="equal", xlim=(-0.95, 0.95), ylim=(0.35, 1.25), xticks=[], yticks=[]
        )
        axes.title.set_fontsize(9)
    axes.legend(loc="lower center", frameon=False, fontsize=8, ncols=2)
    return save(figure, folder, "realign-steps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the rows")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(a.seed)
    print(a.out / draw(on_the_circle(rng, *TEXTS), on_the_circle(rng, *IMAGES), a.out))


if __name__ == "__main__":
    main()
