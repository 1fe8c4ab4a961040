"""The image of a LLaVA JSON's record as pixels, read as `revision encode` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from ..corpora.images import outside_problem
from ..corpora.pixels import open_image
from ..encoders import ImageProcessor
from ..errors import RevisionError


def record_pixels(folder: Path, name: str, processor: ImageProcessor, *, square: bool) -> torch.Tensor:
    """Preprocessed pixels float32 [3, H, W], of V views [V, 3, H, W], of the image `name` in the resolved `folder`;
    padded to a `square` first where that is asked for. Raises RevisionError for one outside it, and for no picture.
    """
    path = folder / name
    problem = outside_problem(folder, str(path.absolute()))
    if problem:
        raise RevisionError(problem)
    image = open_image(path)
    if square:
        image = padded_to_square(image, processor.image_mean)
    return processor.preprocess(image)["pixel_values"][0]


def padded_to_square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """An RGB image in the middle of a square of the colour `mean`, whose side is the image's longer one."""
    if image.width == image.height:
        return image
    side = max(image.size)
    red, green, blue = (int(each * 255) for each in mean)
    square = Image.new("RGB", (side, side), (red, green, blue))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
