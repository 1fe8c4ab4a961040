"""How many items a corpus has, where that is known without reading it."""

import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from revision_plugin.corpora.inputs import open_images, open_texts


def parquet(path, rows):
    pq.write_table(pa.table({"text": [f"text {row}" for row in range(rows)]}), path)
    return path


def test_texts(tmp_path):
    listed = tmp_path / "a.json"
    listed.write_text(json.dumps([{"id": n, "text": "a"} for n in range(3)]))
    (tmp_path / "b.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    (tmp_path / "shards").mkdir()
    for name, rows in (("1.parquet", 4), ("2.parquet", 5)):
        parquet(tmp_path / "shards" / name, rows)
    assert open_texts(listed).count() == 3
    assert open_texts(parquet(tmp_path / "c.parquet", 7)).count() == 7
    assert open_texts(tmp_path / "shards").count() == 9
    assert open_texts(tmp_path / "b.jsonl").count() is None, "its lines would have to be read"


def test_images(tmp_path):
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for name in ("a.png", "more/b.png"):
        Image.new("RGB", (4, 4)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (tmp_path / "paths.json").write_text(json.dumps(["a.png", "more/b.png", "more/b.png"]))
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        tar.add(folder / "a.png", "a.png")
    assert open_images(folder).count() == 2
    assert open_images(tmp_path / "paths.json", folder).count() == 3
    assert open_images(tmp_path / "c.tar").count() is None


@pytest.mark.parametrize("name", ["a.json", "shards/2.parquet"])
def test_what_cannot_be_read_has_no_count(tmp_path, name):
    """Reading it says why; its bar has a rate alone."""
    (tmp_path / "shards").mkdir()
    parquet(tmp_path / "shards" / "1.parquet", 4)
    (tmp_path / name).write_bytes(b"[1,")
    assert open_texts(tmp_path / name.split("/")[0]).count() is None
