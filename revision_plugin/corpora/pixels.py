"""From a file or a decoded picture to RGB pixels: one way for encoding, questions, evaluation and training."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from .._common.files import open_regular
from ..errors import RevisionError

# what is decoded, in Pillow's names: formats of pictures, none of which starts another program or asks the network
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "BMP", "DIB", "GIF", "TIFF", "PPM")
MOST_PIXELS = 178_956_970  # twice what Pillow warns of: where it refuses, unless another library has lifted that
SIGNATURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"\xff\x0a",  # JPEG XL, and the next: known, but not decoded
    b"\0\0\0\x0cJXL ",
    b"\0\0\0\x0cjP  ",
)
BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"hevc")
MOST_ASPECT = 200  # an encoder that scales the shorter side would blow up the longer one
EXIF_ORIENTATION, TIFF_BITS, TIFF_PHOTOMETRIC, WHITE_IS_ZERO = 0x0112, 258, 262, 0
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST = threading.Lock()


def looks_like_image(head: bytes) -> bool:
    """Whether a file that begins with `head` (32 bytes) is of an image format, decodable here or not."""
    if head.startswith(SIGNATURES) and (not head.startswith(b"BM") or head[6:10] == b"\0\0\0\0"):
        return True
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP" or head[4:8] == b"ftyp" and head[8:12] in BRANDS


@contextlib.contextmanager
def whole_images_only() -> Iterator[None]:
    """Decode no truncated image inside, whatever another library (lmms-eval does) has switched on for the process."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def open_image(path: Path) -> Image.Image:
    """The file's picture as RGB `PIL.Image`. Raises RevisionError where it is no regular file or does not decode."""
    with open_regular(path) as handle:
        return decode_image(handle, str(path))


def decode_image(source: IO[bytes] | Image.Image, where: str) -> Image.Image:
    """`source`, a binary file or a picture that is already open, as RGB `PIL.Image`: of an animation the first frame.

    Raises RevisionError, naming `where`, for other formats, more than `MOST_PIXELS`, and what does not decode.
    """
    try:
        with whole_images_only():
            if isinstance(source, Image.Image):
                return to_rgb(source)
            with Image.open(source, formats=_readers()) as image:
                return to_rgb(image)
    except UnidentifiedImageError:
        raise RevisionError(f"{where}: does not decode as an image of {', '.join(FORMATS)}") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        EOFError,
        OverflowError,
        Image.DecompressionBombError,
    ) as error:
        raise RevisionError(f"{where}: does not decode as an image: {error}") from None
    except (struct.error, KeyError, IndexError, AttributeError, RuntimeError, MemoryError, ZeroDivisionError) as error:
        # of Pillow's readers on damaged headers
        raise RevisionError(f"{where}: does not decode as an image ({type(error).__name__})") from None


def _readers() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow reads. It imports its readers at the first image, where a second thread would
    find them missing.
    """
    with _FIRST:
        Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture as it is meant to be seen, in RGB of 8 bits: turned as its EXIF says; 12 and 16 bits, and floats from
    0 to 1, are scaled; a transparent picture keeps the colours under its transparency, as CLIP's readers do.

    Raises ValueError for too many pixels, for a picture more than `MOST_ASPECT` times as long as wide, and for numbers
    whose range nobody names: integers of 32 bits, other floats.
    """
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"its {image.width} x {image.height} pixels exceed the limit of {MOST_PIXELS}")
    if max(image.size) > MOST_ASPECT * min(image.size):
        raise ValueError(f"its {image.width} x {image.height} pixels are more than {MOST_ASPECT} times as long as wide")
    image.load()  # Pillow turns a TIFF here, and forgets that it was turned
    turn = TURNS.get(_orientation(image) or 1)
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int | None:
    """EXIF's orientation; None where there is none, or where metadata cannot be read, which then turns nothing."""
    try:
        return image.getexif().get(EXIF_ORIENTATION)
    except (SyntaxError, struct.error, ValueError, TypeError, KeyError, IndexError, OSError, OverflowError):
        return None


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey picture of more bits, scaled to 8."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if image.mode == "F":
        if not ((values >= 0) & (values <= 1)).all():  # NaN is not, either
            raise ValueError("its pixels are floats beyond 0 to 1, a range that nothing in the file names")
        scaled = np.round(values * 255)
    else:
        bits = int((tags.get(TIFF_BITS) or (16,))[0]) if tags else 16
        if image.mode == "I" and image.format not in ("PPM", "PNG") or not 8 <= bits <= 16:
            raise ValueError("its pixels are integers of a range that nothing in the file names")
        if not ((values >= 0) & (values < 2**bits)).all():
            raise ValueError(f"its pixels are integers beyond the {bits} bits that the file names")
        scaled = values >> (bits - 8)
    scaled = scaled.astype(np.uint8)
    return Image.fromarray(255 - scaled if tags.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO else scaled)
