"""Keeps a picture of a page for the docs: python tests/pages/keep_picture.py PAGE.html docs/pictures/NAME.png [--dark]

As it opens at the size of a desktop, in 256 colours, so that it stays below 300 kB.
"""

import io
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from browser import chromium, open_page  # noqa: E402

BYTES = 300_000
SETTLED = 1500  # milliseconds: figures have been drawn


def keep(page: Path, picture: Path, *, dark: bool) -> None:
    with chromium() as browser, open_page(browser, page.resolve().as_uri(), dark=dark) as watched:
        watched.page.wait_for_selector(".canvas svg")
        watched.page.wait_for_timeout(SETTLED)
        image = Image.open(io.BytesIO(watched.page.screenshot()))
    image.convert("RGB").quantize(256).save(picture, optimize=True)
    if picture.stat().st_size > BYTES:
        sys.exit(f"{picture}: {picture.stat().st_size} bytes, more than {BYTES}; make its page calmer")


if __name__ == "__main__":
    names = [name for name in sys.argv[1:] if not name.startswith("--")]
    keep(Path(names[0]), Path(names[1]), dark="--dark" in sys.argv)
