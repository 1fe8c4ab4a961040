"""Images inside parquet and Arrow, and paths in tables and JSONL."""

import json
import tracemalloc

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_files import picture, read_all, write_table

from revision_plugin.corpora.images import read_images
from revision_plugin.corpora.inputs import open_images
from revision_plugin.errors import RevisionError


def colours(items):
    return [tuple(np.asarray(item.open())[0, 0].tolist()) for item in items]


def test_images_of_datasets_in_parquet_and_in_a_saved_folder(tmp_path):
    data = {
        "photo": [{"bytes": picture("red"), "path": "a.png"}, {"bytes": picture("blue"), "path": None}],
        "id": [1, 2],
    }
    features = datasets.Features({"photo": datasets.Image(), "id": datasets.Value("int64")})
    dataset = datasets.Dataset.from_dict(data, features=features)
    (tmp_path / "p").mkdir()
    dataset.to_parquet(tmp_path / "p" / "a.parquet")
    dataset.save_to_disk(tmp_path / "saved")
    for folder in ("p", "saved"):
        items = read_all(open_images(tmp_path / folder))
        assert [item.id for item in items] == ["1", "2"] and colours(items) == [(255, 0, 0), (0, 0, 255)]
        assert "row 1" in str(items[1]) and all(item.path is None for item in items)


def test_images_as_bytes_and_their_ids(tmp_path):
    write_table(tmp_path / "d" / "a.parquet", jpg=[picture("red"), picture("lime")], caption=["x", "y"])
    items = read_all(open_images(tmp_path / "d"))
    assert [item.id for item in items] == ["a.parquet:0", "a.parquet:1"]
    assert colours(items) == [(255, 0, 0), (0, 255, 0)]


@pytest.mark.parametrize(
    "columns, said, message",
    [
        ({"image": [b"x"], "png": [b"x"]}, {}, r"image and png can be the image; say which with --image-column"),
        ({"a": [{"bytes": b"", "path": ""}], "b": [{"bytes": b"", "path": ""}]}, {}, "a and b can be the image"),
        ({"raw": [b"x"]}, {}, r"no column 'image', nor one of images; .*--image-column \(columns: raw\)"),
        ({"n": [1]}, {"image_column": "n"}, "column 'n' is of type int64, not an image"),
        ({"images": [[{"bytes": b"", "path": ""}]]}, {"image_column": "images"}, "is of type list<.*, not an image"),
    ],
)
def test_image_columns_that_cannot_be_told(tmp_path, columns, said, message):
    write_table(tmp_path / "d" / "a.parquet", **columns)
    with pytest.raises(RevisionError, match=message):
        open_images(tmp_path / "d", **said)


def test_an_image_column_that_is_said(tmp_path):
    write_table(tmp_path / "d" / "a.parquet", image=[b""], raw=[picture()], row=[{"pixels": picture("blue")}])
    assert colours(read_all(open_images(tmp_path / "d", image_column="raw"))) == [(255, 0, 0)]
    assert colours(read_all(open_images(tmp_path / "d", image_column="row.pixels"))) == [(0, 0, 255)]


def test_rows_without_an_image_are_items_with_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr("revision_plugin.corpora.items.MOST_BYTES", 100)
    values = [
        None,
        {"bytes": None, "path": "/etc/passwd"},
        {"bytes": b"", "path": None},
        {"bytes": b"x" * 101, "path": ""},
    ]
    write_table(tmp_path / "d" / "a.parquet", image=values)
    items = read_all(open_images(tmp_path / "d"))
    assert [item.problem for item in items] == [
        "has no 'image'",
        "holds no image, but the path '/etc/passwd'; give --image-folder with the images",
        "its image is empty",
        "its image has 101 bytes; the limit is 100",
    ]
    with pytest.raises(RevisionError, match="row 0: has no 'image'"):
        items[0].open()


def test_paths_in_tables_lead_into_the_image_folder_alone(tmp_path):
    (tmp_path / "im").mkdir()
    (tmp_path / "im" / "a.png").write_bytes(picture("blue"))
    (tmp_path / "secret.png").write_bytes(picture())
    paths = ["a.png", str(tmp_path / "im" / "a.png"), "../secret.png", str(tmp_path / "secret.png"), "none.png"]
    write_table(tmp_path / "d" / "a.parquet", image=[{"bytes": None, "path": path} for path in paths])
    items = read_all(open_images(tmp_path / "d", tmp_path / "im"))
    outside = "lies outside the image folder"
    assert [item.problem and outside in item.problem for item in items] == [None, None, True, True, None]
    assert colours(items[:2]) == [(0, 0, 255)] * 2
    with pytest.raises(RevisionError, match="none.png: no such file"):
        items[4].open()


def test_jsonl_of_paths_in_many_shards_is_as_in_one(tmp_path):
    (tmp_path / "im").mkdir()
    (tmp_path / "im" / "a.png").write_bytes(picture("blue"))
    records = [{"id": 5, "image": "a.png"}, {"image": "../x.png"}, "a.png", {"id": 6}]
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "d" / "b.jsonl").write_text('{"file": "a.png", "id": 7}')
    one = list(read_images(tmp_path / "d" / "a.jsonl", tmp_path / "im"))
    many = list(open_images(tmp_path / "d", tmp_path / "im").read("a.jsonl"))
    assert [(item.path, item.problem) for item in many] == [(item.path, item.problem) for item in one]
    assert [item.id for item in many] == ["5", "a.jsonl:1", "a.png", "6"]
    assert read_all(open_images(tmp_path / "d" / "a.jsonl", tmp_path / "im")) == one
    (item,) = open_images(tmp_path / "d", tmp_path / "im", image_column="file").read("b.jsonl")
    assert item.id == "7" and colours([item]) == [(0, 0, 255)]
    with pytest.raises(RevisionError, match="a.jsonl: image paths in it need --image-folder"):
        open_images(f"{tmp_path}/d/*.jsonl")
    with pytest.raises(RevisionError, match="none: no such folder"):
        open_images(tmp_path / "d", tmp_path / "none")


def test_a_table_that_unfolds_is_read_a_few_rows_at_a_time(tmp_path):
    """One picture of 200 KB a thousand times, which parquet keeps once: 200 MB are never in memory together."""
    picture_bytes = np.random.default_rng(0).bytes(200_000)
    (tmp_path / "d").mkdir()
    pq.write_table(pa.table({"image": pa.array([picture_bytes] * 1000)}), tmp_path / "d" / "a.parquet")
    assert (tmp_path / "d" / "a.parquet").stat().st_size < 2_000_000
    corpus = open_images(tmp_path / "d")
    tracemalloc.start()
    arrow_before, arrow_peak, total = pa.total_allocated_bytes(), 0, 0
    for item in corpus.read("a.parquet"):
        total += len(item.data)
        arrow_peak = max(arrow_peak, pa.total_allocated_bytes() - arrow_before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 200_000_000 and peak < 20_000_000 and arrow_peak < 40_000_000
