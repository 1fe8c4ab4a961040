"""Builds the shipped art sheet from an unpacked emoji-datasource-google npm package."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from revision_plugin.errors import RevisionError

SOURCE = "npm emoji-datasource-google 16.0.0 (Noto Emoji images, Apache-2.0)"
CELL = 32
COLUMNS = 8
OBJECTS = {
    "dog": "1f436",
    "cat": "1f431",
    "fox": "1f98a",
    "panda": "1f43c",
    "pig": "1f437",
    "frog": "1f438",
    "penguin": "1f427",
    "turtle": "1f422",
    "fish": "1f41f",
    "whale": "1f433",
    "apple": "1f34e",
    "banana": "1f34c",
    "grapes": "1f347",
    "lemon": "1f34b",
    "carrot": "1f955",
    "pizza": "1f355",
    "cake": "1f370",
    "coffee": "2615",
    "car": "1f697",
    "bus": "1f68c",
    "bicycle": "1f6b2",
    "rocket": "1f680",
    "ship": "1f6a2",
    "house": "1f3e0",
    "tree": "1f333",
    "flower": "1f33b",
    "star": "2b50",
    "heart": "2764-fe0f",
    "key": "1f511",
    "clock": "23f0",
    "umbrella": "2614",
    "crown": "1f451",
}


def build_art(package: Path, out: Path) -> None:
    """Write `art.png` (one RGBA sheet) and `art.json` (names, code points, cell size) to `out`.

    `package` is the npm package's unpacked folder. Raises RevisionError where an image is missing.
    """
    rows = -(-len(OBJECTS) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * CELL, rows * CELL))
    for index, (name, code) in enumerate(OBJECTS.items()):
        path = package / "img" / "google" / "64" / f"{code}.png"
        if not path.is_file():
            raise RevisionError(f"{path}: no art for '{name}'; unpack {SOURCE} and give its folder")
        with Image.open(path) as image:
            tile = image.convert("RGBA").resize((CELL, CELL), Image.Resampling.LANCZOS)
        sheet.paste(tile, ((index % COLUMNS) * CELL, (index // COLUMNS) * CELL))
    out.mkdir(parents=True, exist_ok=True)
    sheet.save(out / "art.png", optimize=True)
    objects = [{"name": name, "code": code} for name, code in OBJECTS.items()]
    (out / "art.json").write_text(
        json.dumps({"source": SOURCE, "cell": CELL, "columns": COLUMNS, "objects": objects}, indent=1) + "\n"
    )
