"""One picture with its words, and small pictures that ride inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

SIDE = 96  # pixels of a thumbnail's longer side
QUALITY = 70


@dataclass(frozen=True)
class Card:
    """A title, lines of (label, text), perhaps a picture as a data URI, tags (filter's name -> value) and a mark, which
    is `right`, `wrong` or empty. `alt` describes the picture.
    """

    title: str
    lines: Sequence[tuple[str, str]] = ()
    picture: str | None = None
    alt: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    mark: str = ""


def shortened(text: str, most: int) -> str:
    """The first `most` letters of a text, with a mark where there are more."""
    return text if len(text) <= most else text[:most] + " …"


def thumbnail(image: Image.Image | np.ndarray, side: int = SIDE) -> str:
    """A picture, PIL or uint8 [H, W, 3], as a small WebP in a data URI, its longer side at most `side` pixels."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=QUALITY, method=6)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
