"""Views of a picture: the whole, then its parts in a grid, each of which an encoder turns into one vector."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..errors import RevisionError

CROP, MASK = "crop", "mask"
SPEC = re.compile(r"(\d{1,3})x(\d{1,3})(?::(crop|mask))?(?::(0?\.\d{1,4}|0))?", re.ASCII)
MOST_PARTS = 256
FORMS = "1, or ROWSxCOLUMNS[:mask|crop][:OVERLAP], such as 2x2:mask or 3x3:crop:0.25"


@dataclass(frozen=True)
class ImageViews:
    """Which views of a picture are taken: the whole, and with a grid its parts, row by row from the top left.

    `crop` enlarges a part to what the encoder takes; `mask` leaves it at its place and covers the rest with the
    picture's mean colour. Neighbouring parts share `overlap` of their length. Written as `1` (the whole alone) or
    `ROWSxCOLUMNS:mask` with `:OVERLAP` behind it.
    """

    rows: int = 1
    columns: int = 1
    part: str = MASK
    overlap: float = 0.0

    @classmethod
    def parse(cls, spec: str) -> ImageViews:
        """Read a spec; `mask` is what a grid alone means. Raises RevisionError for anything else."""
        if spec == "1":
            return cls()
        match = SPEC.fullmatch(spec)
        if not match:
            raise RevisionError(f"views '{spec}': write {FORMS}")
        rows, columns, overlap = int(match[1]), int(match[2]), float(match[4] or 0)
        if not 2 <= rows * columns <= MOST_PARTS:
            raise RevisionError(
                f"views '{spec}': a grid has 2 to {MOST_PARTS} parts; write 1 for the whole image alone"
            )
        return cls(rows, columns, match[3] or MASK, overlap)

    def __str__(self) -> str:
        if self.count == 1:
            return "1"
        shared = f":{self.overlap:g}" if self.overlap else ""
        return f"{self.rows}x{self.columns}:{self.part}{shared}"

    @property
    def count(self) -> int:
        """How many views there are, the whole included."""
        parts = self.rows * self.columns
        return 1 if parts == 1 else 1 + parts

    def boxes(self, width: int, height: int) -> list[tuple[int, int, int, int]]:
        """The parts of a picture of that many pixels as (left, top, right, bottom), row by row from the top left.

        Together they cover it. Each is at least one pixel wide and high, so the parts of a picture with fewer pixels
        than the grid has rows or columns share some.
        """
        across, down = (_spans(size, n, self.overlap) for size, n in ((width, self.columns), (height, self.rows)))
        return [(left, top, right, bottom) for top, bottom in down for left, right in across]

    def cut(self, image: Image.Image) -> Iterator[Image.Image]:
        """The views of an RGB picture, the whole first: `count` RGB pictures, cut from its own pixels one at a time."""
        yield image
        if self.count == 1:
            return
        boxes = self.boxes(*image.size)
        if self.part == CROP:
            yield from map(image.crop, boxes)
            return
        mean = tuple(np.asarray(image).mean((0, 1), dtype=np.float64).round().astype(int).tolist())
        for box in boxes:
            masked = Image.new("RGB", image.size, mean)
            masked.paste(image.crop(box), box)
            yield masked


def _spans(size: int, parts: int, overlap: float) -> list[tuple[int, int]]:
    """From where to where each of `parts` equal parts of a line of `size` pixels reaches."""
    if overlap:
        length = size / (parts - (parts - 1) * overlap)
        starts = [index * length * (1 - overlap) for index in range(parts)]
        spans = [(math.floor(start + 0.5), math.floor(start + length + 0.5)) for start in starts]
    else:  # in whole numbers, so that no rounding leaves a gap
        bounds = [(2 * index * size + parts) // (2 * parts) for index in range(parts + 1)]
        spans = list(itertools.pairwise(bounds))
    firsts = [min(first, size - 1) for first, _ in spans]
    return [(first, min(max(last, first + 1), size)) for first, (_, last) in zip(firsts, spans)]
