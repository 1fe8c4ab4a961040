import json

import numpy as np
import pytest
from PIL import Image

from revision_plugin.corpora.images import read_images
from revision_plugin.corpora.pixels import open_image
from revision_plugin.corpora.texts import read_texts
from revision_plugin.errors import RevisionError
from revision_plugin.evaluation import documents

TALK = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a dog"}]


def write(path, kind, records):
    if kind == "json":
        path.write_text(json.dumps(records))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(records), path)
    return path


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet"])
def test_llava_records(tmp_path, kind):
    path = write(tmp_path / f"c.{kind}", kind, [{"id": 7, "conversations": TALK}, {"id": 8, "conversations": TALK}])
    first, second = read_texts(path)
    assert (first.id, first.text, first.conversations) == ("7", "a dog", TALK)
    assert second.id == "8"


def test_caption_wins_over_reply_and_txt_is_a_line_each(tmp_path):
    path = write(tmp_path / "c.json", "json", [{"id": "a", "caption": "two cats", "conversations": TALK}, "bare text"])
    assert [(i.id, i.text) for i in read_texts(path)] == [("a", "two cats"), ("1", "bare text")]
    (tmp_path / "t.txt").write_text("one\ntwo three\n")
    assert [(i.id, i.text) for i in read_texts(tmp_path / "t.txt")] == [("0", "one"), ("1", "two three")]


@pytest.mark.parametrize(
    "record, reason",
    [
        ({"id": "a"}, "no caption"),
        ({"id": "a", "conversations": [{"from": "human", "value": "x"}]}, "no caption"),
        ({"id": "a", "text": "   "}, "no caption"),
        ({"id": "a", "conversations": [{"who": "x"}]}, "'from' and 'value'"),
        (3, "not int"),
    ],
)
def test_unusable_records_are_reported_not_dropped(tmp_path, record, reason):
    path = write(tmp_path / "c.json", "json", ["good", record, "good"])
    items = list(read_texts(path))
    assert len(items) == 3 and reason in items[1].problem and items[0].problem is None


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.json", b"[1, 2", "not valid JSON at line 1"),
        ("a.json", b'{"a": 1}', "expected a JSON list"),
        ("a.json", b'["\xff"]', "not UTF-8"),
        ("a.jsonl", b'"ok"\n{broken\n', "line 2: not valid JSON"),
        ("a.txt", b"ok\n\xff\xfe\n", "line 2 is not UTF-8"),
        ("a.csv", b"x", "cannot read '.csv'"),
        ("a.parquet", b"not parquet at all", "not a whole, readable parquet file"),
    ],
)
def test_unreadable_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RevisionError, match=message):
        list(read_texts(tmp_path / name))


def test_missing_file_folder_and_column(tmp_path):
    with pytest.raises(RevisionError, match="no such file"):
        list(read_texts(tmp_path / "no.json"))
    with pytest.raises(RevisionError, match="is a folder"):
        list(read_texts(tmp_path))
    with pytest.raises(RevisionError, match="no column 'text', 'caption' or 'conversations'; it has b"):
        list(read_texts(write(tmp_path / "c.parquet", "parquet", [{"b": 1}])))


def test_images_of_a_folder_and_of_a_json(tmp_path):
    for name in ("b/2.png", "b/1.jpg", "a.webp"):
        (tmp_path / "im" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "im" / name)
    (tmp_path / "im" / "notes.txt").write_text("x")
    assert [i.id for i in read_images(tmp_path / "im")] == ["a.webp", "b/1.jpg", "b/2.png"]
    path = write(
        tmp_path / "c.json",
        "json",
        [{"id": 5, "image": "b/2.png"}, {"id": 6}, {"id": 7, "image": "../c.json"}, {"id": 8, "image": "/etc/passwd"}],
    )
    items = list(read_images(path, tmp_path / "im"))
    assert items[0].path == (tmp_path / "im" / "b" / "2.png").resolve() and items[0].problem is None
    assert [i.problem and i.problem.split()[0] for i in items] == [None, "has", "'../c.json'", "'/etc/passwd'"]
    assert "outside the image folder" in items[2].problem and "outside the image folder" in items[3].problem
    with pytest.raises(RevisionError, match="need --image-folder"):
        list(read_images(path))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.fromarray(np.full((5, 7, 3), 128, np.uint8)).convert(mode).save(tmp_path / f"x.{suffix}")
    image = open_image(tmp_path / f"x.{suffix}")
    assert image.mode == "RGB" and image.size == (7, 5)


def test_sixteen_bits_keep_their_brightness(tmp_path):
    Image.fromarray(np.full((4, 4), 30000, np.uint16)).save(tmp_path / "x.png")
    assert np.asarray(open_image(tmp_path / "x.png"))[0, 0].tolist() == [117, 117, 117]


def test_broken_images(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("hello")
    for name in ("cut.png", "text.png"):
        with pytest.raises(RevisionError, match=f"{name}: does not decode"):
            open_image(tmp_path / name)
    with pytest.raises(RevisionError, match="no such file"):
        open_image(tmp_path / "none.png")


def test_truncated_images_are_refused_whatever_the_process_allows(tmp_path, rng, monkeypatch):
    """lmms-eval switches Pillow's tolerance on for the whole process when it is imported."""
    from PIL import ImageFile

    whole, cut = tmp_path / "whole.png", tmp_path / "cut.png"
    Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(whole)
    cut.write_bytes(whole.read_bytes()[:600])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(RevisionError, match="does not decode"):
        open_image(cut)
    with pytest.raises(RevisionError, match="row id=7: does not decode"):
        documents.image({"id": 7, "image": {"bytes": cut.read_bytes(), "path": None}})
    assert open_image(whole).size == (40, 40) and ImageFile.LOAD_TRUNCATED_IMAGES is True
