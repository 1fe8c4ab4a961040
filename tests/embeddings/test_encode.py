"""Encoding: what a repeated command finds, what it counts, and the authors' own corpus form."""

import hashlib
import json
import os
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import refuse, run
from PIL import Image

from revision_plugin.corpora.texts import TextItem
from revision_plugin.embeddings import encode, writer
from revision_plugin.embeddings.encode import encode_images, encode_texts
from revision_plugin.embeddings.encoding_run import EncoderElsewhere, EncodingRun
from revision_plugin.embeddings.item_encoding import TextEncoding
from revision_plugin.embeddings.store import Store
from revision_plugin.encoders import Identity, load_encoder
from revision_plugin.errors import RevisionError


@pytest.fixture
def demo():
    return load_encoder("demo")


def draw(folder, count, rng):
    folder.mkdir(exist_ok=True)
    for index in range(count):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(folder / f"{index}.png")


def stop_after(monkeypatch, chunks):
    """Encoding two items a chunk stops once so many chunks are written."""
    monkeypatch.setattr(encode, "CHUNK_ROWS", 2)
    write, written_chunks = writer.StoreWriter.write_chunk, []

    def stopping(self, *arguments, **keywords):
        if len(written_chunks) == chunks:
            raise KeyboardInterrupt
        written_chunks.append(1)
        write(self, *arguments, **keywords)

    monkeypatch.setattr(writer.StoreWriter, "write_chunk", stopping)


def test_pictures_that_changed_under_a_stopped_run_are_refused(demo, tmp_path, rng, monkeypatch):
    draw(tmp_path / "pictures", 5, rng)
    with monkeypatch.context() as stopped:
        stop_after(stopped, 1)
        with pytest.raises(KeyboardInterrupt):
            encode_images(demo, tmp_path / "pictures", tmp_path / "store")
    monkeypatch.setattr(encode, "CHUNK_ROWS", 2)
    before = (tmp_path / "pictures" / "4.png").stat()
    draw(tmp_path / "pictures", 1, rng)  # 0.png drawn anew, the same name and number of pictures
    with pytest.raises(RevisionError, match="holds a stopped run with another image_files"):
        encode_images(demo, tmp_path / "pictures", tmp_path / "store")
    assert (tmp_path / "pictures" / "4.png").stat() == before


def test_a_stopped_run_counts_cut_texts_once(demo, tmp_path, monkeypatch, caplog):
    (tmp_path / "texts.txt").write_text("\n".join(["a dog " * 60, "a cat", "a fish " * 60, "a car", "a bus"]))
    with monkeypatch.context() as stopped:
        stop_after(stopped, 2)
        with pytest.raises(KeyboardInterrupt):
            encode_texts(demo, tmp_path / "texts.txt", tmp_path / "store")
    monkeypatch.setattr(encode, "CHUNK_ROWS", 2)
    encode_texts(demo, tmp_path / "texts.txt", tmp_path / "store")
    encode_texts(demo, tmp_path / "texts.txt", tmp_path / "again")  # the same encoder
    cut = [record.getMessage() for record in caplog.records if "were cut" in record.getMessage()]
    assert cut == ["2 of 5 texts were longer than the encoder's window and were cut"] * 2


def test_a_kill_before_the_final_rename_encodes_nothing_again(demo, tmp_path, monkeypatch):
    (tmp_path / "texts.txt").write_text("a dog\na cat\n")
    with monkeypatch.context() as killed:

        def die(source, target):
            if str(target) == str(tmp_path / "store"):
                raise KeyboardInterrupt
            os.rename(source, target)

        killed.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            encode_texts(demo, tmp_path / "texts.txt", tmp_path / "store")
    assert not (tmp_path / "store").exists()
    monkeypatch.setattr(demo, "encode_tokens", None)  # so that encoding anything fails
    store = encode_texts(demo, tmp_path / "texts.txt", tmp_path / "store")
    assert len(store) == 2 and not [path for path in store.path.iterdir() if path.name in ("request.json", ".lock")]


def test_the_authors_dataset_json_as_it_is(tmp_path, rng, capsys):
    draw(tmp_path / "pictures", 2, rng)
    corpus = {"images": ["1.png", "0.png"], "texts": ["a dog", "a cat", "a fish"]}
    (tmp_path / "dataset.json").write_text(json.dumps(corpus))
    run("encode", "--encoder", "demo", "--texts", tmp_path / "dataset.json", "--out", tmp_path / "texts")
    run(
        "encode",
        "--encoder",
        "demo",
        "--images",
        tmp_path / "dataset.json",
        "--image-folder",
        tmp_path / "pictures",
        "--out",
        tmp_path / "images",
    )
    texts, images = Store.open(tmp_path / "texts"), Store.open(tmp_path / "images")
    assert texts.column("text").to_pylist() == corpus["texts"] and images.ids() == corpus["images"]
    assert "encoding on cpu" in capsys.readouterr().err
    (tmp_path / "dataset.json").write_text(json.dumps({"pictures": []}))
    line = refuse(capsys, "encode", "--encoder", "demo", "--texts", tmp_path / "dataset.json", "--out", tmp_path / "x")
    assert "or an object with a list 'texts'" in line


def test_a_folder_with_the_name_of_an_image(demo, tmp_path, rng):
    draw(tmp_path / "pictures", 1, rng)
    draw(tmp_path / "pictures" / "x.png", 1, rng)
    assert encode_images(demo, tmp_path / "pictures", tmp_path / "store").ids() == ["0.png", "x.png/0.png"]


def test_shards_are_encoded_as_one_file_is(demo, tmp_path, rng):
    """The same texts in one JSONL and in two shards, the same pictures in a folder, in tars and in parquet."""
    texts = [f"a {color} dog" for color in ("red", "blue", "green", "white", "black")]
    (tmp_path / "shards").mkdir()
    for name, part in (("one.jsonl", texts), ("shards/0.jsonl", texts[:2]), ("shards/1.jsonl", texts[2:])):
        (tmp_path / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in part))
    flags = ("--encoder", "demo", "--dtype", "float32")
    run("encode", *flags, "--texts", tmp_path / "one.jsonl", "--out", tmp_path / "a")
    shards = sorted((tmp_path / "shards").iterdir())
    run("encode", *flags, "--texts", *shards, "--id-column", "__row__", "--out", tmp_path / "b")
    one, many = Store.open(tmp_path / "a"), Store.open(tmp_path / "b")
    assert many.ids() == ["0.jsonl:0", "0.jsonl:1", "1.jsonl:0", "1.jsonl:1", "1.jsonl:2"]
    assert many.column("text") == one.column("text")
    np.testing.assert_allclose(rows_of(many), rows_of(one), atol=1e-6)  # other batches

    draw(tmp_path / "pictures", 3, rng)
    files = sorted((tmp_path / "pictures").iterdir())
    with tarfile.open(tmp_path / "p.tar", "w") as tar:
        for file in files:
            tar.add(file, file.name)
    pq.write_table(
        pa.table({"image": [file.read_bytes() for file in files], "uid": [file.stem for file in files]}),
        tmp_path / "p.parquet",
    )
    run("encode", *flags, "--images", tmp_path / "pictures", "--out", tmp_path / "c")
    run("encode", *flags, "--images", f"{tmp_path}/*.tar", "--out", tmp_path / "d")
    run("encode", *flags, "--images", tmp_path / "p.parquet", "--id-column", "uid", "--out", tmp_path / "e")
    expected = rows_of(Store.open(tmp_path / "c"))
    for name in "de":
        assert Store.open(tmp_path / name).ids() == ["0", "1", "2"]
        assert (rows_of(Store.open(tmp_path / name)) == expected).all()


def rows_of(store):
    return np.concatenate(list(store.blocks()))


def test_a_stopped_run_of_old_is_gone_on_with(demo, tmp_path, monkeypatch):
    """What names a corpus of one file has not changed: a store that an earlier version began is finished."""
    (tmp_path / "texts.txt").write_text("a dog\na cat\na bus\n")
    monkeypatch.setattr(encode, "CHUNK_ROWS", 2)
    digest = hashlib.sha256((tmp_path / "texts.txt").read_bytes()).hexdigest()
    request = {"corpus": "texts.txt", "corpus_hash": digest, "precision": None, "chunk_rows": 2}
    old = dict(modality="text", encoder=demo.identity, dim=demo.dim, dtype="float16", request=request)
    writer.StoreWriter(tmp_path / "store", **old).close()
    assert len(encode_texts(demo, tmp_path / "texts.txt", tmp_path / "store")) == 3

    Image.new("RGB", (8, 8)).save(tmp_path / "only.png")
    (tmp_path / "im").mkdir()
    (tmp_path / "only.png").rename(tmp_path / "im" / "only.png")
    state = (tmp_path / "im" / "only.png").stat()
    files = hashlib.sha256(json.dumps(("only.png", state.st_size, state.st_mtime_ns)).encode() + b"\n").hexdigest()
    request = {"corpus": "im", "corpus_hash": None, "image_files": files, "precision": None, "chunk_rows": 2}
    writer.StoreWriter(tmp_path / "images", **{**old, "modality": "image", "request": request}).close()
    assert len(encode_images(demo, tmp_path / "im", tmp_path / "images")) == 1
    with pytest.raises(RevisionError, match="holds a stopped run with another corpus_hash"):
        writer.StoreWriter(tmp_path / "other", **old).close()
        (tmp_path / "texts.txt").write_text("a dog\n")
        encode_texts(demo, tmp_path / "texts.txt", tmp_path / "other")


def test_shards_that_changed_under_a_stopped_run_are_refused(demo, tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text('{"text": "a dog"}\n{"text": "a cat"}\n')
    with monkeypatch.context() as stopped:
        stop_after(stopped, 1)
        with pytest.raises(KeyboardInterrupt):
            encode_texts(demo, f"{tmp_path}/*.jsonl", tmp_path / "store")
    monkeypatch.setattr(encode, "CHUNK_ROWS", 2)
    before = (tmp_path / "a.jsonl").stat()
    os.utime(tmp_path / "a.jsonl", ns=(1, 1))
    with pytest.raises(RevisionError, match="holds a stopped run with another corpus_parts"):
        encode_texts(demo, f"{tmp_path}/*.jsonl", tmp_path / "store")
    os.utime(tmp_path / "a.jsonl", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(encode_texts(demo, f"{tmp_path}/*.jsonl", tmp_path / "store")) == 4


def test_ids_that_shards_share_are_refused(tmp_path, capsys):
    (tmp_path / "shards").mkdir()
    for name in "ab":
        (tmp_path / "shards" / f"{name}.jsonl").write_text('{"id": 1, "text": "a dog"}\n')
    words = ("encode", "--encoder", "demo", "--texts", tmp_path / "shards", "--out", tmp_path / "store")
    assert "id '1' occurs more than once" in refuse(capsys, *words)
    words = (*words[:-1], tmp_path / "second", "--id-column", "__row__")
    run(*words)
    assert Store.open(tmp_path / "second").ids() == ["a.jsonl:0", "b.jsonl:0"]


class Parts:
    """A corpus of several parts, with what was read of it."""

    where = "corpus"

    def __init__(self, **texts):
        self.parts, self._texts, self.opened = list(texts), texts, []

    def count(self):
        return None

    def read(self, part):
        self.opened.append(part)
        for row, text in enumerate(self._texts[part]):
            yield TextItem(f"{part}-{row}", text, problem=None if text else "has no caption")


def run_parts(demo, corpus, out, **settings):
    """A chunk of two items at a time, and a shard for about four."""
    defaults = dict(chunk_rows=2, rows_per_shard=4, max_failures=1)
    return EncodingRun(demo, corpus, TextEncoding(), **{**defaults, **settings}).run(
        out, "float32", {"corpus": "parts"}
    )


def test_a_corpus_of_parts_is_read_part_by_part(demo, tmp_path, monkeypatch):
    corpus = Parts(a=["a dog", "a cat", "a fish"], empty=[], b=["a car", "", "a bus", "a sun", "a cup"])
    whole = run_parts(demo, corpus, tmp_path / "whole")
    assert whole.ids() == ["a-0", "a-1", "a-2", "b-0", "b-2", "b-3", "b-4"]
    assert whole.manifest.shard_rows == [4, 3] and whole.manifest.failures == 1
    for chunks in range(5):
        out = tmp_path / f"stopped-{chunks}"
        with monkeypatch.context() as stopped:
            stop_after(stopped, chunks)
            with pytest.raises(KeyboardInterrupt):
                run_parts(demo, corpus, out)
        corpus.opened.clear()
        assert run_parts(demo, corpus, out).manifest == whole.manifest
        assert ("a" in corpus.opened) == (chunks < 2), "a part that is done is not read again"


def test_an_id_in_two_parts(demo, tmp_path, monkeypatch):
    class Numbered(Parts):
        def read(self, part):
            return (TextItem(str(row), text) for row, text in enumerate(self._texts[part]))

    corpus = Numbered(a=["a dog"] * 3, b=["a cat"] * 2)
    with pytest.raises(RevisionError, match="corpus: id '0' occurs more than once"):
        run_parts(demo, corpus, tmp_path / "early")
    monkeypatch.setattr("revision_plugin.embeddings.encoding_run.IDS_REMEMBERED", 0)  # as of a large corpus
    with pytest.raises(RevisionError, match=r"late: id '[01]' occurs more than once; ids must be unique"):
        run_parts(demo, corpus, tmp_path / "late")


def test_nothing_to_encode_leaves_nothing_behind(demo, tmp_path):
    with pytest.raises(RevisionError, match="corpus: holds no text; nothing to encode"):
        run_parts(demo, Parts(a=[], b=[]), tmp_path / "s")
    for content, message in (("[]", "holds no text; nothing to encode"), ("[", "not valid JSON")):
        (tmp_path / "texts.json").write_text(content)
        with pytest.raises(RevisionError, match=message):
            encode_texts(demo, tmp_path / "texts.json", tmp_path / "s")
    assert [path.name for path in tmp_path.iterdir()] == ["texts.json"], "so that the mended corpus can be encoded"


def test_failures_beyond_the_budget_are_listed_from_all_parts(demo, tmp_path):
    corpus = Parts(a=["a dog", ""], b=["", "a cat"])
    with pytest.raises(RevisionError, match=r"2 unusable item\(s\), first 'a-1': has no caption"):
        run_parts(demo, corpus, tmp_path / "s")
    listed = (tmp_path / "s.partial" / "failures.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in listed] == ["a-1", "b-0"]
    assert len(run_parts(demo, corpus, tmp_path / "s", max_failures=2)) == 2


def test_another_machines_encoder_must_be_the_same(demo):
    assert EncoderElsewhere.of(demo).load().fingerprint == demo.fingerprint
    with pytest.raises(RevisionError, match="demo: is another encoder on this machine.*give all machines the same"):
        EncoderElsewhere(Identity("demo", "0" * 64), None, False).load()
