import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from conftest import held_folder, unit_rows, write_store

from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.writer import StoreWriter
from revision_plugin.errors import RevisionError

ENCODER = {"spec": "test", "fingerprint": "0" * 64}


def writer(path, **kwargs):
    settings = dict(modality="text", encoder=ENCODER, dim=6, dtype="float16", request={"corpus": "a"})
    return StoreWriter(path, **{**settings, **kwargs})


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_round_trip(rng, tmp_path, dtype):
    rows = unit_rows(rng, 25, 6)
    talk = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "<ünïcode>\n"}]
    store = write_store(tmp_path / "s", rows, dtype=dtype, chunk=10, conversations=[talk] + [None] * 24)
    expected = rows.astype(dtype)
    np.testing.assert_array_equal(np.concatenate(list(store.blocks(4))), expected)
    assert [store.row(i)["id"] for i in (0, 9, 10, 24)] == ["row-0", "row-9", "row-10", "row-24"]
    np.testing.assert_array_equal(store.row(24)["embedding"], expected[24].astype(np.float32))
    assert store.row(0)["conversations"] == talk and store.row(1)["conversations"] is None
    assert store.manifest.conversations == 1 and len(store) == 25
    store.verify()
    with pytest.raises(IndexError):
        store.row(25)


def test_datasets_opens_it(rng, tmp_path):
    import datasets

    rows = unit_rows(rng, 12, 6)
    write_store(tmp_path / "s", rows, chunk=5)
    loaded = datasets.load_from_disk(str(tmp_path / "s"))
    assert loaded.column_names == ["id", "embedding", "text", "conversations"]
    np.testing.assert_allclose(np.array(loaded["embedding"][:]), rows.astype(np.float32))


def test_content_hash_depends_on_rows_and_not_on_chunks(rng, tmp_path):
    rows = unit_rows(rng, 30, 6)
    one = write_store(tmp_path / "a", rows, chunk=30).manifest.content_hash
    assert write_store(tmp_path / "b", rows, chunk=7).manifest.content_hash == one
    texts = [f"text {i}" for i in range(29)] + ["other"]
    assert write_store(tmp_path / "c", rows, texts=texts).manifest.content_hash != one
    assert write_store(tmp_path / "d", rows[::-1]).manifest.content_hash != one


def test_embedding_pages_are_mapped_not_copied(rng, tmp_path):
    store = write_store(tmp_path / "s", unit_rows(rng, 100, 6))
    block = next(store.blocks(10))
    assert not block.flags.owndata and not block.flags.writeable


def test_store_travels_to_worker_processes_by_path(rng, tmp_path):
    store = write_store(tmp_path / "s", unit_rows(rng, 1000, 64))
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    assert pickle.loads(sent).manifest == store.manifest


def test_killed_writer_resumes_with_the_same_content(rng, tmp_path):
    rows = unit_rows(rng, 20, 6)
    expected_hash = write_store(tmp_path / "whole", rows, chunk=5, dtype="float16").manifest.content_hash
    script = (
        "import os, sys, numpy as np\n"
        "from revision_plugin.embeddings.writer import StoreWriter\n"
        f"rows = np.load({str(tmp_path / 'rows.npy')!r})\n"
        f"w = StoreWriter({str(tmp_path / 's')!r}, modality='text', encoder={ENCODER!r}, dim=6, dtype='float16', "
        f"request={{'corpus': 'a'}})\n"
        "for c in range(2):\n"
        "    w.write_chunk(c, [f'row-{i}' for i in range(5*c, 5*c+5)], rows[5*c:5*c+5], texts=[f'text {i}' for i "
        "in range(5*c, 5*c+5)])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    np.save(tmp_path / "rows.npy", rows)
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert not (tmp_path / "s").exists()
    with pytest.raises(RevisionError, match="no such embedding store"):
        Store.open(tmp_path / "s")
    resumed = writer(tmp_path / "s")
    assert [resumed.has_chunk(c) for c in range(4)] == [True, True, False, False]
    for c in (2, 3):
        part = slice(5 * c, 5 * c + 5)
        resumed.write_chunk(
            c, [f"row-{i}" for i in range(20)][part], rows[part], texts=[f"text {i}" for i in range(20)][part]
        )
    assert resumed.finish(4).manifest.content_hash == expected_hash


def test_another_request_does_not_resume(rng, tmp_path):
    writer(tmp_path / "s").close()
    with pytest.raises(RevisionError, match="stopped run with another corpus"):
        writer(tmp_path / "s", request={"corpus": "b"})


def test_two_writers_on_one_store(tmp_path):
    with held_folder(tmp_path / "s.partial") as holder:
        with pytest.raises(RevisionError, match=rf"another process \({holder}\) still writes here"):
            writer(tmp_path / "s")
    writer(tmp_path / "s").close()


def test_occupied_output_is_refused(rng, tmp_path):
    store = write_store(tmp_path / "s", unit_rows(rng, 5, 6))
    with pytest.raises(RevisionError, match="already exists"):
        writer(tmp_path / "s")
    store.verify()


@pytest.mark.parametrize(
    "value, word", [(np.nan, "not finite"), (0.0, "norm 0, not 1"), (1.0, "not 1"), (1e6, "not 1")]
)
def test_unusable_embeddings_are_refused(rng, tmp_path, value, word):
    rows = unit_rows(rng, 3, 6)
    rows[1] = value
    w = writer(tmp_path / "s")
    with pytest.raises(RevisionError, match=f"'b' .*{word}"):
        w.write_chunk(0, ["a", "b", "c"], rows, texts=["", "", ""])
    assert not w.has_chunk(0)


def test_duplicate_ids_and_empty_corpus(rng, tmp_path):
    w = writer(tmp_path / "s")
    w.write_chunk(0, ["a", "b", "a"], unit_rows(rng, 3, 6), texts=["x"] * 3)
    with pytest.raises(RevisionError, match="'a' occurs more than once"):
        w.finish(1)
    empty = writer(tmp_path / "e")
    empty.write_chunk(0, [], np.empty((0, 6)))
    with pytest.raises(RevisionError, match="empty"):
        empty.finish(1)
    assert not (tmp_path / "s").exists() and not (tmp_path / "e").exists()


def damage(path, kind):
    """In the last of its shards, the second or the only one."""
    shard = sorted(path.glob("data-*.arrow"))[-1]
    manifest = json.loads((path / "manifest.json").read_text())
    old = {key: value for key, value in manifest.items() if key not in ("manifest_hash", "columns")}  # as first written
    if kind == "flipped byte":
        data = bytearray(shard.read_bytes())
        data[data.index(b"row-15")] ^= 1
        shard.write_bytes(data)
    elif kind == "cut shard":
        os.truncate(shard, shard.stat().st_size // 2)
    elif kind == "missing shard":
        shard.unlink()
    elif kind == "stale manifest":
        (path / "manifest.json").write_text(json.dumps({**old, "count": 99}))
    elif kind == "edited manifest":
        (path / "manifest.json").write_text(json.dumps({**manifest, "failures": 7}))
    elif kind == "wrong dimension":
        (path / "manifest.json").write_text(json.dumps({**old, "dim": 7}))
    elif kind == "unknown field":
        (path / "manifest.json").write_text(json.dumps({**old, "surprise": 1}))
    elif kind == "several problems":
        (path / "manifest.json").write_text(json.dumps({**old, "modality": "sound", "dtype": "int8"}))


DAMAGES = {
    "flipped byte": "does not match its hash|damaged",
    "cut shard": "damaged|rows",
    "missing shard": r"data-0000\d.arrow: shard is missing",
    "stale manifest": "says 99 rows, the shards hold 20",
    "edited manifest": "manifest.json: was edited or damaged",
    "wrong dimension": "columns are not those",
    "unknown field": "surprise",
    "several problems": "dtype, modality cannot be what they say",
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_detected(rng, tmp_path, kind):
    write_store(tmp_path / "s", unit_rows(rng, 20, 6), chunk=10)
    damage(tmp_path / "s", kind)
    with pytest.raises(RevisionError, match=DAMAGES[kind]):
        Store.open(tmp_path / "s").verify()
