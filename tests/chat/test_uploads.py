"""What may be uploaded, and what is left of it: nothing."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from revision_plugin.chat import uploads
from revision_plugin.chat.example_pictures import write_examples
from revision_plugin.chat.uploads import FOLDER_VARIABLE, read_upload, upload_folder
from revision_plugin.errors import RevisionError


def bomb(width, height):
    """A PNG of few bytes that says it is large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def test_a_picture_is_read_as_every_picture_is(tmp_path, images):
    images[0].save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_upload(str(tmp_path / "a.png"))), np.asarray(images[0]))


@pytest.mark.parametrize(
    "case, line",
    [
        ("bomb", "exceed"),
        ("long", "200 times as long as wide"),
        ("cut", "does not decode"),
        ("text", "does not decode as an image of PNG"),
        ("large", "larger than 20 MiB"),
        ("gone", "no longer kept"),
        (None, "no image is there"),
    ],
)
def test_a_file_that_is_no_usable_picture_is_refused_in_one_line_without_its_path(case, line, tmp_path, images):
    file = tmp_path / "upload.png"
    if case == "bomb":
        file.write_bytes(bomb(30000, 30000))
    elif case == "long":
        file.write_bytes(bomb(30000, 10))
    elif case == "cut":
        images[0].save(file)
        file.write_bytes(file.read_bytes()[:-600])
    elif case == "text":
        file.write_text("<svg/>")
    elif case == "large":
        with file.open("wb") as handle:
            handle.truncate(uploads.MOST_BYTES + 1)
    with pytest.raises(RevisionError, match=line) as refused:
        read_upload(None if case is None else str(file))
    assert "\n" not in str(refused.value) and str(tmp_path) not in str(refused.value)


def test_the_folder_goes_with_all_that_is_in_it(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "inside.example")
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    before = dict(os.environ)
    with pytest.raises(KeyError), upload_folder("127.0.0.1") as folder:
        assert Path(os.environ[FOLDER_VARIABLE]).parent == folder and folder.stat().st_mode & 0o777 == 0o700
        assert {"inside.example", "127.0.0.1"} <= set(os.environ["NO_PROXY"].split(","))
        examples = write_examples(folder / "examples")
        raise KeyError
    assert not folder.exists() and dict(os.environ) == before
    assert len({path for path, _ in examples}) == len({question for _, question in examples}) == 6


def test_the_examples_are_the_same_every_time(tmp_path):
    first, second = (write_examples(tmp_path / name) for name in "ab")
    assert [question for _, question in first] == [question for _, question in second]
    for (one, _), (other, _) in zip(first, second):
        np.testing.assert_array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(other)))
