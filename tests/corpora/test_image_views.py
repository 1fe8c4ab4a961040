"""Which pictures an image's views are, pixel by pixel."""

import numpy as np
import pytest
from PIL import Image

from revision_plugin.corpora.image_views import ImageViews
from revision_plugin.errors import RevisionError


def counted(width, height):
    """A picture in which no two pixels are equal."""
    values = np.arange(width * height).reshape(height, width)
    return Image.fromarray(np.stack([values % 256, values // 256, values * 0], -1).astype(np.uint8))


@pytest.mark.parametrize(
    "spec, canonical, count",
    [
        ("1", "1", 1),
        ("2x2", "2x2:mask", 5),
        ("1x2:crop", "1x2:crop", 3),
        ("3x3:mask:0.25", "3x3:mask:0.25", 10),
        ("2x3:crop:.5", "2x3:crop:0.5", 7),
        ("2x2:mask:0", "2x2:mask", 5),
        ("16x16", "16x16:mask", 257),
    ],
)
def test_specs(spec, canonical, count):
    views = ImageViews.parse(spec)
    assert str(views) == canonical and views.count == count and ImageViews.parse(canonical) == views


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "0",
        "2",
        "1x1",
        "0x2",
        "2x",
        "2x2:",
        "2x2:tile",
        "2x2:mask:1",
        "2x2:mask:-0.1",
        "17x16",
        "-1x2",
        "2X2",
        "2x2:mask:0.00001",
        "２x２",
        "9" * 5000 + "x2",
    ],
)
def test_other_words_are_refused_in_one_line(spec):
    with pytest.raises(RevisionError, match="views '.*': (write 1|a grid has 2 to 256)") as error:
        ImageViews.parse(spec)
    assert "\n" not in str(error.value)


def test_one_view_is_the_picture_itself():
    picture = counted(5, 4)
    (view,) = ImageViews().cut(picture)
    assert view is picture


def test_crops_are_the_parts_row_by_row_from_the_top_left():
    picture = counted(6, 4)
    pixels = np.asarray(picture)
    whole, *parts = ImageViews.parse("2x3:crop").cut(picture)
    assert whole is picture
    expected = [pixels[top : top + 2, left : left + 2] for top in (0, 2) for left in (0, 2, 4)]
    assert len(parts) == 6 and all(np.array_equal(np.asarray(p), e) for p, e in zip(parts, expected))


def test_a_masked_part_stays_at_its_place_on_the_mean_colour():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2, :2], pixels[2:, 2:] = (200, 100, 0), (0, 60, 255)
    views = [*ImageViews.parse("2x2:mask").cut(Image.fromarray(pixels))]
    mean = (50, 40, 64)  # of the four quarters; 63.75 is rounded
    for part, (top, left) in zip(views[1:], [(0, 0), (0, 2), (2, 0), (2, 2)]):
        expected = np.full((4, 4, 3), mean, np.uint8)
        expected[top : top + 2, left : left + 2] = pixels[top : top + 2, left : left + 2]
        assert np.array_equal(np.asarray(part), expected)


@pytest.mark.parametrize("spec", ["2x2", "3x5:crop", "4x1", "3x3:mask:0.25", "2x3:crop:0.5", "16x16", "12x12"])
@pytest.mark.parametrize("size", [(64, 64), (17, 33), (3, 2), (1, 1), (1, 90), (13, 13)])
def test_parts_cover_the_picture_and_are_never_empty(spec, size):
    views, (width, height) = ImageViews.parse(spec), size
    seen = np.zeros((height, width), int)
    boxes = views.boxes(width, height)
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        seen[top:bottom, left:right] += 1
    assert seen.min() >= 1 and len(boxes) == views.count - 1 == len([*views.cut(counted(width, height))]) - 1
    if not views.overlap and width % views.columns == height % views.rows == 0:
        assert seen.max() == 1 and len({(right - left, bottom - top) for left, top, right, bottom in boxes}) == 1


def test_neighbours_share_the_overlap():
    boxes = ImageViews.parse("1x3:crop:0.25").boxes(100, 10)
    assert [(left, right) for left, _, right, _ in boxes] == [(0, 40), (30, 70), (60, 100)]
