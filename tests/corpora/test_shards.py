"""Corpora of many shards: where they lie, which columns are meant, what their items are called."""

import gzip
import json
import os
import pickle
import subprocess
import sys

import datasets
import fsspec
import pyarrow as pa
import pytest
from conftest import ROOT
from object_store import without_s3fs
from shard_files import jsonl_bytes, pairs, picture, read_all, samples, tar_bytes, write_table

from revision_plugin.corpora import inputs, listing
from revision_plugin.corpora.images import read_images
from revision_plugin.corpora.inputs import open_images, open_texts
from revision_plugin.corpora.texts import read_texts
from revision_plugin.errors import RevisionError


@pytest.fixture
def tables(tmp_path):
    """Two parquet shards in folders, one a level deeper."""
    write_table(tmp_path / "data" / "b.parquet", caption=["three"], width=[3])
    write_table(tmp_path / "data" / "a" / "x.parquet", caption=["one", "two"], width=[1, 2])
    return tmp_path / "data"


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_a_folder_of_parquet_is_read_part_by_part(tables):
    corpus = open_texts(tables)
    assert corpus.parts == ("a/x.parquet", "b.parquet")
    assert pairs(corpus) == [("a/x.parquet:0", "one"), ("a/x.parquet:1", "two"), ("b.parquet:0", "three")]
    (tables / "a" / "x.parquet").write_bytes(b"")
    assert [item.text for item in corpus.read("b.parquet")] == ["three"], "a part needs no other"
    with pytest.raises(RevisionError, match="has no part 'c.parquet'"):
        corpus.read("c.parquet")


def test_globs_and_names_of_shards(tables, monkeypatch):
    both = ("a/x.parquet", "b.parquet")
    assert open_texts(f"{tables}/**/*.parquet").parts == both
    assert open_texts([tables / "b.parquet", tables / "a" / "x.parquet"]).parts == both
    assert open_texts([f"{tables}/*/*.parquet", f"{tables}/**/x.parquet", tables]).parts == both, "each file once"
    monkeypatch.chdir(tables)
    assert open_texts(["b.parquet", "./b.parquet", str(tables / "b.parquet")]).parts == ("b.parquet",)
    with pytest.raises(RevisionError, match=r"\*.csv: no file matches"):
        open_texts("*.csv")


def test_a_file_whose_name_looks_like_a_glob(tmp_path):
    write_table(tmp_path / "a[1].parquet", text=["one"])
    assert pairs(open_texts(tmp_path / "a[1].parquet")) == [("0", "one")]


@pytest.mark.parametrize("name, content", [("c.json", json.dumps(["a dog", {"id": 7, "text": "a cat"}]))])
def test_one_file_is_read_as_ever(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    corpus = open_texts(path)
    assert corpus.parts == (name,) and list(corpus.read(name)) == list(read_texts(path))
    assert corpus.identity().keys() == {"corpus", "corpus_hash"}
    assert read_all(open_texts(f"file://{path}")) == list(read_texts(path))


def test_a_parquet_file_of_one_name_keeps_the_numbers_of_its_rows(tmp_path):
    path = write_table(tmp_path / "c.parquet", prompt=["one", "two"], text=["x", "y"])
    assert pairs(open_texts(path)) == [("0", "x"), ("1", "y")]
    assert pairs(open_texts(path, text_column="prompt")) == [("0", "one"), ("1", "two")]
    assert pairs(open_texts(path, id_column="__row__", text_column="prompt"))[1] == ("1", "two")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_jsonl_plain_and_compressed(tmp_path, suffix):
    data = jsonl_bytes("one", "two") + b'{"id": "mine", "caption": "three"}\n'
    packed = {".gz": gzip.compress, ".zst": lambda d: pa.compress(d, codec="zstd", asbytes=True)}
    data = packed.get(suffix[6:], bytes)(data)
    (tmp_path / f"p{suffix}").write_bytes(data)
    name = f"p{suffix}"
    assert pairs(open_texts(tmp_path)) == [(f"{name}:0", "one"), (f"{name}:1", "two"), ("mine", "three")]
    (tmp_path / f"q{suffix}").write_bytes(data[:-12])
    with pytest.raises(RevisionError, match=f"q{suffix}.*(cut or damaged|not valid JSON)"):
        read_all(open_texts(tmp_path))


def test_two_frames_of_gzip_and_zstd_are_both_read(tmp_path):
    first, second = jsonl_bytes("one"), jsonl_bytes("two")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(first) + gzip.compress(second))
    frames = [pa.compress(each, codec="zstd", asbytes=True) for each in (first, second)]
    (tmp_path / "b.jsonl.zst").write_bytes(b"".join(frames))
    assert [text for _, text in pairs(open_texts(tmp_path))] == ["one", "two"] * 2


def test_what_is_hidden_or_no_shard_is_passed_over_and_counted(tables, caplog):
    (tables / "_SUCCESS").write_text("")
    (tables / "README.md").write_text("x")
    write_table(tables / "_temporary" / "c.parquet", caption=["half"])
    assert open_texts(f"{tables}/_temp*/*").parts == ("_temporary/c.parquet",), "asked for"
    with caplog.at_level("INFO"):
        assert len(open_texts(tables).parts) == 2
    assert "3 file(s) are no shards and are passed over (1 .md, 1 .parquet, 1 no suffix)" in caplog.text


def test_empty_shards_are_named_where_others_hold_items(tables, caplog):
    write_table(tables / "c.parquet", caption=pa.array([], pa.string()), width=pa.array([], pa.int64()))
    with caplog.at_level("INFO"):
        assert len(read_all(open_texts(tables))) == 3
    assert "c.parquet: holds no item" in caplog.text and "a/x.parquet: holds" not in caplog.text


def test_the_same_item_in_the_same_corpus_from_another_process_and_folder(tables, monkeypatch):
    monkeypatch.chdir(tables.parent)
    for corpus in (open_texts("data"), open_texts("data/b.parquet", text_column="caption")):
        again = pickle.loads(pickle.dumps(corpus))
        assert len(pickle.dumps(corpus)) < 2000
        code = f"import pickle\nc = pickle.loads({pickle.dumps(corpus)!r})"
        code += "\nprint([item.id for part in c.parts for item in c.read(part)])"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd="/", env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
        )
        assert done.stdout.decode().strip() == str([item.id for item in read_all(corpus)]), done.stderr.decode()
        assert again.parts == corpus.parts and again.identity() == corpus.identity()


def test_what_a_resumed_run_must_find_again(tables):
    before = open_texts(tables).identity()
    assert before.keys() == {"corpus", "corpus_parts", "corpus_columns"} and before["corpus"] == "data"
    assert open_texts(tables).identity() == before
    os.utime(tables / "b.parquet", (1, 1))
    assert open_texts(tables).identity() != before
    one = open_texts(f"{tables}/b*").identity()
    os.utime(tables / "b.parquet", (2, 2))
    assert open_texts(f"{tables}/b*").identity() == one, "the content of one small shard is hashed"
    write_table(tables / "b.parquet", caption=["other"])
    assert open_texts(f"{tables}/b*").identity() != one
    assert open_texts(f"{tables}/b*", id_column="caption").identity() != open_texts(f"{tables}/b*").identity()


# other file systems


def test_shards_in_memory_of_fsspec(memory):
    memory.pipe("/bucket/set/a.jsonl", jsonl_bytes("one"))
    memory.pipe("/bucket/set/b/c.jsonl.gz", gzip.compress(jsonl_bytes("two")))
    memory.pipe("/bucket/set/notes.md", b"x")
    expected = [("a.jsonl:0", "one"), ("b/c.jsonl.gz:0", "two")]
    assert pairs(open_texts("memory://bucket/set")) == expected
    assert pairs(open_texts("memory://bucket/set/**/*.jsonl*")) == expected
    assert pairs(open_texts("memory://bucket/set/a.jsonl")) == [("0", "one")]
    assert [text for _, text in pairs(open_texts("memory://bucket/set/b/c.jsonl.gz"))] == ["two"]
    before = open_texts("memory://bucket/set").identity()
    assert open_texts("memory://bucket/set").identity() == before
    memory.pipe("/bucket/set/a.jsonl", jsonl_bytes("1ne"))
    assert open_texts("memory://bucket/set").identity() != before
    for name in ("memory://bucket/none", "memory://bucket/none.jsonl"):
        with pytest.raises(RevisionError, match=f"{name}: no such file or folder"):
            read_all(open_texts(name))
    with pytest.raises(RevisionError, match="no file matches"):
        open_texts("memory://bucket/set/*.tar")


def test_parquet_arrow_tars_json_and_text_elsewhere(memory, tmp_path):
    datasets.Dataset.from_dict({"text": ["one", "two"]}).save_to_disk(tmp_path / "saved")
    write_table(tmp_path / "t.parquet", text=["one", "two"])
    for file in (tmp_path / "saved").iterdir():
        memory.pipe(f"/saved/{file.name}", file.read_bytes())
    memory.pipe("/t.parquet", (tmp_path / "t.parquet").read_bytes())
    memory.pipe("/t.json", b'{"images": [], "texts": ["one", "two"]}')
    memory.pipe("/t.txt", b"one\ntwo\n")
    memory.pipe("/t.tar", tar_bytes([("a.txt", b"one"), ("b.txt", b"two")]))
    for name in ("saved", "t.parquet", "t.json", "t.txt", "t.tar"):
        assert [text for _, text in pairs(open_texts(f"memory://{name}"))] == ["one", "two"], name


def test_names_of_file_systems_that_cannot_be_read():
    needed = "'s3://' needs a package that is not installed; pip install s3fs"
    with without_s3fs(), pytest.raises(RevisionError, match=needed):
        open_texts("s3://bucket/data")
    with pytest.raises(RevisionError, match="no file system is called 'nowhere://'"):
        open_texts("nowhere://x")
    with pytest.raises(RevisionError, match="chains of file systems are not read"):
        open_texts("zip://*.jsonl::file:///x.zip")
    with pytest.raises(RevisionError, match="one corpus lies in one file system, not in file and memory"):
        fsspec.filesystem("memory").pipe("/x/a.jsonl", b"")
        open_texts(["memory://x/a.jsonl", str(ROOT / "setup.py")])


def test_a_file_system_that_fails_says_so_in_one_line(memory, monkeypatch):
    memory.pipe("/x/a.jsonl", jsonl_bytes("one"))
    corpus = open_texts("memory://x")
    for error, line in [
        (ConnectionError("reset\nby peer"), r"ConnectionError: reset\)"),
        (PermissionError(13, "no"), "may not"),
    ]:

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(type(memory), "open", fail)
        with pytest.raises(RevisionError, match=f"memory://x/a.jsonl: .*{line}") as caught:
            read_all(corpus)
        assert "\n" not in str(caught.value)


def test_a_dataset_of_the_hub_is_read_at_one_commit(hub, tmp_path):
    write_table(tmp_path / "a.parquet", text=["one", "two"])
    table = (tmp_path / "a.parquet").read_bytes()
    hub.put("dataset", "me/words", {"a.parquet": table, "README.md": b"x"})
    corpus = open_texts("hf://datasets/me/words")
    write_table(tmp_path / "a.parquet", text=["later"])
    hub.put("dataset", "me/words", {"a.parquet": (tmp_path / "a.parquet").read_bytes()})
    assert pairs(corpus) == [("a.parquet:0", "one"), ("a.parquet:1", "two")]
    later = open_texts("hf://datasets/me/words/*.parquet")
    assert pairs(later) == [("a.parquet:0", "later")] and later.identity() != corpus.identity()
    with pytest.raises(RevisionError, match="hf://datasets/me/none: the hub has no dataset repository of that name"):
        open_texts("hf://datasets/me/none")
    with pytest.raises(RevisionError, match="no such file or folder|no such commit"):
        open_texts("hf://datasets/me/words/none.parquet")


# columns


@pytest.mark.parametrize(
    "columns, text, id",
    [
        (("text",), "text", None),
        (("caption", "id"), "caption", "id"),
        (("TEXT", "URL", "key"), "TEXT", "key"),
        (("txt", "__key__", "key", "json"), "txt", "__key__"),
    ],
)
def test_columns_that_are_told_by_their_names(tmp_path, columns, text, id):
    write_table(tmp_path / "d" / "a.parquet", **{name: [f"{name} 0"] for name in columns})
    expected = (f"{id} 0" if id else "a.parquet:0", f"{text} 0")
    assert pairs(open_texts(tmp_path / "d")) == [expected]


def test_columns_that_are_said(tmp_path):
    write_table(
        tmp_path / "d" / "a.parquet", text=["x"], prompt=["one"], id=[5], uid=["u"], json=[{"caption": "two", "n": 7}]
    )
    folder = tmp_path / "d"
    assert pairs(open_texts(folder, text_column="prompt", id_column="uid")) == [("u", "one")]
    assert pairs(open_texts(folder, text_column="json.caption", id_column="json.n")) == [("7", "two")]
    assert pairs(open_texts(folder, id_column="__row__")) == [("a.parquet:0", "x")]
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "a.jsonl").write_text('{"id": 5, "text": "x", "meta": {"c": "one"}}\n"y"\n{"id": 6}\n')
    assert pairs(open_texts(tmp_path / "j", text_column="meta.c"))[0] == ("5", "one")
    assert pairs(open_texts(tmp_path / "j", id_column="__row__"))[0] == ("a.jsonl:0", "x")
    problems = [item.problem for item in read_all(open_texts(tmp_path / "j", text_column="meta.c"))]
    assert problems == [None, None, "has no field 'meta.c' (it has id)"]


@pytest.mark.parametrize(
    "columns, said, message",
    [
        ({"text": ["x"], "caption": ["y"]}, {}, "text and caption can be the text; say which with --text-column"),
        ({"a": ["x"], "b": [1]}, {}, r"no column 'text', .* say which it is with --text-column \(columns: a, b\)"),
        ({"text": ["x"]}, {"text_column": "body"}, r"has no column 'body' for --text-column \(columns: text\)"),
        ({"text": ["x"]}, {"id_column": "uid"}, r"has no column 'uid' for --id-column \(columns: text\)"),
        (
            {"n": [1], "text": ["x"]},
            {"text_column": "n"},
            r"column 'n' is of type int64, not text \(columns: n, text\)",
        ),
        ({"c": [["x"]]}, {"text_column": "c"}, "column 'c' is of type list<.*, not text"),
    ],
)
def test_columns_that_cannot_be_told_are_listed(tmp_path, columns, said, message):
    write_table(tmp_path / "d" / "a.parquet", **columns)
    with pytest.raises(RevisionError, match=f"a.parquet: .*{message}"):
        open_texts(tmp_path / "d", **said)


def test_conversations_ride_along(tmp_path):
    talk = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a dog"}]
    write_table(tmp_path / "d" / "a.parquet", id=["7"], caption=["two dogs"], conversations=[talk])
    (item,) = read_all(open_texts(tmp_path / "d"))
    assert (item.id, item.text, item.conversations) == ("7", "two dogs", talk)
    (item,) = read_all(open_texts(tmp_path / "d", text_column="conversations"))
    assert (item.text, item.conversations) == ("a dog", talk)


def test_rows_without_a_text_are_items_with_a_problem(tmp_path):
    write_table(tmp_path / "d" / "a.parquet", text=["one", None, " ", "a\0b"], id=["a", "b", None, "d"])
    items = read_all(open_texts(tmp_path / "d"))
    assert [item.problem and item.problem[:12] for item in items] == [
        None,
        "has no capti",
        "its id is nu",
        "holds NUL, a",
    ]


def test_a_shard_of_other_columns_is_named(tables):
    write_table(tables / "c.parquet", text=["x"])
    with pytest.raises(RevisionError, match="c.parquet: has no column 'caption', as the first shard has"):
        read_all(open_texts(tables))


# forms


def test_a_folder_of_one_kind(tables):
    (tables / "z.tar").write_bytes(tar_bytes(samples("0")))
    with pytest.raises(RevisionError, match="holds shards of parquet and tar; give those of one kind"):
        open_texts(tables)
    assert len(open_texts(f"{tables}/*.parquet").parts) == 1


def test_a_saved_dataset_without_its_caches(tmp_path):
    saved = tmp_path / "saved"
    datasets.Dataset.from_dict({"text": list("abcde"), "id": list("vwxyz")}).save_to_disk(saved, num_shards=2)
    cache = next(saved.glob("data-*.arrow"))
    (saved / "cache-12.arrow").write_bytes(cache.read_bytes())
    corpus = open_texts(saved)
    assert corpus.parts == ("data-00000-of-00002.arrow", "data-00001-of-00002.arrow")
    assert pairs(corpus) == list(zip("vwxyz", "abcde"))
    cache.unlink()
    with pytest.raises(RevisionError, match=f"state.json: names {cache.name}, which is missing"):
        open_texts(saved)


def test_a_saved_dataset_of_splits(tmp_path):
    one, two = (datasets.Dataset.from_dict({"text": [text]}) for text in ("one", "two"))
    datasets.DatasetDict({"train": one, "test": two}).save_to_disk(tmp_path / "saved")
    with pytest.raises(RevisionError, match=f"holds the splits train, test; give .*{tmp_path}/saved/train"):
        open_texts(tmp_path / "saved")
    assert [text for _, text in pairs(open_texts(tmp_path / "saved" / "train"))] == ["one"]


def test_arrow_files_of_both_forms_and_cut_ones(tmp_path):
    table = pa.table({"text": ["one", "two"]})
    for name, new in (("a.arrow", pa.ipc.new_stream), ("b.arrow", pa.ipc.new_file)):
        with new(tmp_path / name, table.schema) as writer:
            writer.write_table(table, max_chunksize=1)
    assert [text for _, text in pairs(open_texts(tmp_path))] == ["one", "two"] * 2
    for name in ("a.arrow", "b.arrow"):
        whole = (tmp_path / name).read_bytes()
        for end in (len(whole) - 8, len(whole) // 2, 3, 0):  # 8: what ends a stream, whose batches are whole
            (tmp_path / name).write_bytes(whole[:end])
            with pytest.raises(RevisionError, match=f"{name}: not a whole, readable Arrow file"):
                read_all(open_texts(f"{tmp_path}/{name[0]}*"))
        (tmp_path / name).write_bytes(whole)


def test_cut_parquet_shards_are_named(tables):
    corpus, path = open_texts(tables), tables / "b.parquet"
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[: len(whole) // 2], b"", whole[:8] + bytes(40) + whole[48:]):
        path.write_bytes(damaged)
        with pytest.raises(RevisionError, match="b.parquet: not a whole, readable parquet file"):
            read_all(corpus)


def test_a_line_of_jsonl_without_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr("revision_plugin.corpora.shards.MOST_LINE", 1000)
    (tmp_path / "a.jsonl").write_bytes(jsonl_bytes("one") + b" " * 5000)
    with pytest.raises(RevisionError, match="a.jsonl: line 2 has 1000 bytes or more"):
        read_all(open_texts(tmp_path))


def test_links_that_lead_out_of_a_folder(tables, tmp_path):
    write_table(tmp_path / "secret.parquet", caption=["secret"])
    (tables / "c.parquet").symlink_to(tmp_path / "secret.parquet")
    for name in (tables, f"{tables}/*.parquet"):
        with pytest.raises(RevisionError, match="c.parquet: is a link that leads out of .*; name the file itself"):
            open_texts(name)
    assert len(open_texts([tables / "b.parquet", tables / "c.parquet"]).parts) == 2, "named, so meant"
    (tables / "c.parquet").unlink()
    (tables / "c.parquet").symlink_to("b.parquet")
    assert len(open_texts(tables).parts) == 3
    (tables / "more").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(RevisionError, match="more: is a link to a folder, which is not followed"):
        open_texts(tables)


def test_a_file_system_that_lists_what_lies_elsewhere(memory, monkeypatch):
    memory.pipe("/x/a.jsonl", jsonl_bytes("one"))
    state = {"type": "file", "size": 1}
    monkeypatch.setattr(type(memory), "find", lambda *_, **__: {"/etc/passwd.jsonl": state})
    with pytest.raises(RevisionError, match="lists /etc/passwd.jsonl, which does not lie in it"):
        open_texts("memory://x")


def test_a_folder_without_shards(tmp_path):
    with pytest.raises(RevisionError, match="is a folder; give one file of .json, .*or shards of .parquet.*holds none"):
        open_texts(tmp_path)
    (tmp_path / "x.csv").write_text("x")
    with pytest.raises(RevisionError, match="x.csv: cannot read '.csv'"):
        read_all(open_texts(tmp_path / "x.csv"))
    with pytest.raises(RevisionError, match="matches no file of a known form; give one file of"):
        open_texts(f"{tmp_path}/*.csv")
    with pytest.raises(RevisionError, match="b.csv: cannot read '.csv'; give one file"):
        (tmp_path / "b.csv").write_text("x")
        open_texts([tmp_path / "b.csv", tmp_path / "x.csv"])


def test_an_image_folder_is_one_whatever_lies_beside(tmp_path):
    (tmp_path / "im").mkdir()
    (tmp_path / "im" / "a").write_bytes(picture())
    write_table(tmp_path / "im" / "metadata.parquet", image=[picture()])
    corpus = open_images(tmp_path / "im")
    assert read_all(corpus) == list(read_images(tmp_path / "im")) and corpus.parts == ("im",)
    assert isinstance(corpus, inputs.FilesOfImages)
    (tmp_path / "im" / "a").unlink()
    assert [item.id for item in read_all(open_images(tmp_path / "im"))] == ["metadata.parquet:0"]
    assert not listing.list_shards([str(tmp_path / "im")], [".parquet"], []).named
