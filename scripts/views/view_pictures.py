"""Draws the views of a picture of the embedded world: `python -m scripts.views.view_pictures --out docs/pictures`."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from revision_plugin.corpora.image_views import ImageViews
from revision_plugin.demo import world
from revision_plugin.geometry.plots import new_figure, save

SPECS = ("2x2:mask", "2x2:crop", "2x2:mask:0.25", "1x2:crop")


def draw(picture: Image.Image, specs: tuple[str, ...], folder: Path) -> str:
    """One row of views a spec; the name of the picture written into `folder`."""
    columns = max(ImageViews.parse(spec).count for spec in specs)
    figure = new_figure(1.15 * columns + 0.8, 1.3 * len(specs))
    panels = figure.subplots(len(specs), columns, squeeze=False)
    for row, spec in zip(panels, specs):
        views = [*ImageViews.parse(spec).cut(picture)]
        row[0].set_ylabel(spec)
        for number, axes in enumerate(row):
            axes.set(xticks=[], yticks=[])
            if number < len(views):
                axes.imshow(views[number].resize((128, 128), Image.Resampling.NEAREST))
                axes.set_title("whole" if number == 0 else f"part {number}", fontsize=8)
            else:
                axes.set_visible(False)
    return save(figure, folder, "views")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=11, help="of the scene")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    scenes = world.sample_scenes(50, seed=a.seed, held_out=False)
    scene = next(each for each in scenes if len(each.objects) == 3)
    print(a.out / draw(Image.fromarray(world.render_all([scene], seed=a.seed)[0]), SPECS, a.out))


if __name__ == "__main__":
    main()
