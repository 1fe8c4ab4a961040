"""The wide world's sheet and names, rebuilt from small folders laid out as the npm packages are."""

import json

import inflect
import numpy as np
import pytest
from PIL import Image

from revision_plugin.errors import RevisionError
from scripts.wide_world.build_things import CELL, COLUMNS, build, forms

GROUPS = {"groups": {"3": "animals-nature", "8": "symbols"}, "subgroups": {"30": "animal-mammal", "80": "arrow"}}
EMOJI = [
    ("1F435", "monkey face", 3, 30, ["monkey", "face", "banana"]),
    ("1F412", "monkey", 3, 30, ["banana"]),
    ("1F43A", "wolf", 3, 30, ["animal", "howling"]),
    ("1F400", "rat", 3, 30, ["rodent", "wolf"]),
    ("27A1", "right arrow", 8, 80, ["arrow"]),
    ("1F9AC", "bison: large", 3, 30, []),
    ("1F98A", "fox", 3, 30, ["animal"]),
]
COLOURS = {"1f435": (255, 0, 0), "1f412": (0, 255, 0), "1f43a": (0, 0, 255), "1f400-fe0f": (9, 9, 9), "27a1": (1, 1, 1)}


@pytest.fixture
def packages(tmp_path):
    data, art = tmp_path / "names", tmp_path / "art"
    for folder in (data / "meta", data / "en", art / "img" / "google" / "64"):
        folder.mkdir(parents=True)
    (data / "meta" / "groups.json").write_text(json.dumps(GROUPS))
    keys = ("hexcode", "label", "group", "subgroup", "tags")
    (data / "en" / "data.json").write_text(json.dumps([dict(zip(keys, entry)) for entry in EMOJI]))
    for name, colour in COLOURS.items():
        Image.new("RGB", (64, 64), colour).save(art / "img" / "google" / "64" / f"{name}.png")
    return data, art


def test_the_things_are_plain_names_with_a_picture_once_each(packages, tmp_path):
    build(*packages, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "things.json").read_text())
    # not the arrow (another group), the bison (no plain words), the fox (no picture); the face is the first monkey
    assert [thing["code"] for thing in record["things"]] == ["1f435", "1f43a", "1f400-fe0f"]
    assert [thing["names"] for thing in record["things"]] == [
        [["a", "monkey", "monkeys"]],
        [["a", "wolf", "wolves"], ["an", "animal", "animals"]],
        [["a", "rat", "rats"], ["a", "wolf", "wolves"]],
    ]
    with Image.open(tmp_path / "out" / "things.png") as sheet:
        assert sheet.size == (COLUMNS * CELL, CELL)
        pixels = np.asarray(sheet)
    centres = pixels[CELL // 2, CELL // 2 :: CELL]
    assert centres[:3].tolist() == [[255, 0, 0, 255], [0, 0, 255, 255], [9, 9, 9, 255]]
    assert not centres[3:].any()


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("owl", ["an", "owl", "owls"]),
        ("hourglass", ["an", "hourglass", "hourglasses"]),
        ("scissors", ["some", "scissors", "scissors"]),
        ("octopus", ["an", "octopus", "octopuses"]),
    ],
)
def test_a_noun_has_its_article_and_plural(noun, expected):
    assert forms(noun, inflect.engine()) == expected


def test_a_folder_without_pictures_is_named(packages, tmp_path):
    with pytest.raises(RevisionError, match="no pictures there; unpack npm emoji-datasource-google"):
        build(packages[0], tmp_path / "elsewhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()
