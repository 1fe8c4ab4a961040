"""Stores with several rows an item: what is written, read, chosen and refused."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pytest
from conftest import refuse, run, unit_rows, write_store
from PIL import Image

from revision_plugin.aligners import ReAlign, load_aligner
from revision_plugin.aligners.apply import apply_aligner
from revision_plugin.corpora.image_views import ImageViews
from revision_plugin.corpora.text_views import TextViews
from revision_plugin.embeddings.encode import encode_images, encode_texts
from revision_plugin.embeddings.item_views import item_starts, of_view
from revision_plugin.embeddings.rows import EveryNth
from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.writer import StoreWriter
from revision_plugin.encoders import load_encoder
from revision_plugin.errors import RevisionError

VIEWS = [0, 1, 2, 0, 0, 1, 0, 1, 2, 3]
IDS = list("aaabccdddd")
CAPTIONS = ["a dog top-left and a cat bottom-right on a red background", "a sun top-left on a blue background"]


def written(path, rows, *, cut=6, views=VIEWS, ids=IDS):
    """A text store of views, in chunks of `cut` rows."""
    return write_store(path, rows, chunk=cut, ids=ids, texts=ids, views="clauses:en", numbers=views)


@pytest.fixture
def store(rng, tmp_path):
    return written(tmp_path / "s", unit_rows(rng, 10, 6))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    rng, folder = np.random.default_rng(5), tmp_path_factory.mktemp("pictures")
    for name, size in (("a", (64, 64, 3)), ("b", (33, 70, 3)), ("thin", (9, 1, 3))):
        Image.fromarray(rng.integers(0, 255, size, np.uint8)).save(folder / f"{name}.png")
    return folder


def test_datasets_opens_it_with_the_numbers_of_the_views(store):
    import datasets

    loaded = datasets.load_from_disk(str(store.path))
    assert loaded.column_names == ["id", "embedding", "view", "text", "conversations"]
    assert loaded["view"][:] == VIEWS and loaded["id"][:] == IDS
    assert json.loads((store.path / "manifest.json").read_text())["views"] == "clauses:en"
    store.verify()
    assert list(item_starts(store)) == [0, 3, 4, 6, 10]


def test_each_kind_of_view_is_rows_of_its_own(store, rng):
    everything = np.concatenate(list(store.blocks()))
    for view, rows in (("whole", [0, 3, 4, 6]), ("parts", [1, 2, 5, 7, 8, 9]), ("1", [1, 5, 7]), ("3", [9])):
        chosen = of_view(store, view)
        assert len(chosen) == len(rows) and chosen.ids() == [IDS[row] for row in rows]
        for size in (1, 2, 50):
            np.testing.assert_array_equal(np.concatenate(list(chosen.blocks(size))), everything[rows])
        np.testing.assert_array_equal(chosen.take(np.arange(len(rows))[::-1]), everything[rows[::-1]])
        assert [chosen.row(i)["view"] for i in range(len(rows))] == [VIEWS[row] for row in rows]
        assert chosen.column("text").to_pylist() == [IDS[row] for row in rows]
        chosen.verify_embeddings()
        np.testing.assert_array_equal(chosen.span(0, 1)[0], chosen.row(0)["embedding"])
        again = pickle.loads(pickle.dumps(chosen))
        np.testing.assert_array_equal(np.concatenate(list(again.blocks())), everything[rows])
        with pytest.raises(IndexError):
            chosen.row(len(rows))
    parts = of_view(store, "parts")
    held_out = np.concatenate(list(EveryNth(parts, 3, chosen=True).blocks(1)))
    np.testing.assert_array_equal(held_out, everything[[5, 9]])
    np.testing.assert_array_equal(np.concatenate(list(parts.blocks(2, 1, 4))), everything[[2, 5, 7]])


@pytest.mark.parametrize(
    "view, message",
    [
        ("all", "write whole, parts or the number of a part"),
        ("-1", "write whole"),
        ("0", "write whole"),
        ("9" * 5000, "write whole"),
        ("7", "no item has a view '7'"),
    ],
)
def test_a_view_that_is_none(store, view, message):
    with pytest.raises(RevisionError, match=message):
        of_view(store, view)


def test_views_of_an_item_follow_one_another(rng, tmp_path):
    rows = unit_rows(rng, 10, 6)
    with pytest.raises(RevisionError, match="view 2 of 'a' does not follow view 1"):
        written(tmp_path / "a", rows, views=[0, 2, 1, *VIEWS[3:]])
    with pytest.raises(RevisionError, match="view 1 of 'b' does not follow view 0"):
        written(tmp_path / "b", rows, ids=list("aabbccdddd"), views=[0, 1, 1, 0, *VIEWS[4:]])
    with pytest.raises(RevisionError, match="id 'a' occurs more than once"):
        written(tmp_path / "c", rows, ids=list("aaabccaaaa"))


def test_an_image_has_a_row_for_the_whole_and_each_part(pictures, tmp_path):
    encoder, views = load_encoder("demo"), ImageViews.parse("2x2:mask")
    store = encode_images(encoder, pictures, tmp_path / "views", views=views, dtype="float32", batch_size=7)
    plain = encode_images(encoder, pictures, tmp_path / "plain", dtype="float32")
    assert store.ids() == [name for name in ("a.png", "b.png", "thin.png") for _ in range(5)]
    assert store.column("view").to_pylist() == [0, 1, 2, 3, 4] * 3 and store.manifest.views == "2x2:mask"
    rows = np.concatenate(list(store.blocks()))
    np.testing.assert_allclose(rows[::5], np.concatenate(list(plain.blocks())), atol=1e-5)
    cut = [*views.cut(Image.open(pictures / "b.png"))]
    by_hand = encoder.encode_pixels(encoder.image_processor.preprocess(cut)["pixel_values"]).numpy()
    np.testing.assert_allclose(rows[5:10], by_hand, atol=1e-5)


def test_one_view_writes_the_store_that_it_always_wrote(pictures, tmp_path):
    encoder = load_encoder("demo")
    plain = encode_images(encoder, pictures, tmp_path / "plain").manifest
    named = encode_images(encoder, pictures, tmp_path / "named", views=ImageViews.parse("1")).manifest
    assert plain == named and "views" not in json.loads((tmp_path / "named" / "manifest.json").read_text())


def test_a_text_has_a_row_for_the_whole_and_each_clause(tmp_path):
    corpus = tmp_path / "texts.json"
    talk = [{"from": "human", "value": "what?"}, {"from": "gpt", "value": "that"}]
    corpus.write_text(
        json.dumps([{"id": "two", "text": CAPTIONS[0], "conversations": talk}, {"id": "one", "text": CAPTIONS[1]}])
    )
    encoder = load_encoder("demo")
    store = encode_texts(encoder, corpus, tmp_path / "s", views=TextViews.parse("clauses"), dtype="float32")
    texts = [CAPTIONS[0], "a dog top-left", "a cat bottom-right on a red background", CAPTIONS[1]]
    assert store.column("text").to_pylist() == texts and store.ids() == ["two"] * 3 + ["one"]
    assert store.column("view").to_pylist() == [0, 1, 2, 0] and store.manifest.conversations == 1
    np.testing.assert_allclose(np.concatenate(list(store.blocks())), encoder.encode_texts(texts).numpy(), atol=1e-5)


def test_commands_ask_which_kind(pictures, tmp_path, capsys):
    corpus = tmp_path / "texts.txt"
    corpus.write_text("\n".join(f"{caption} {number}" for number in range(20) for caption in CAPTIONS))
    texts, images = tmp_path / "texts", tmp_path / "images"
    run("encode", "--encoder", "demo", "--texts", corpus, "--views", "clauses", "--out", texts)
    run("encode", "--encoder", "demo", "--images", pictures, "--views", "2x2", "--out", images)
    fit = ("fit", "--source", texts, "--target", images, "--out", tmp_path / "aligner")
    assert "holds views of each item (clauses:en), wholes and parts; choose with --view" in refuse(capsys, *fit)
    run(*fit, "--view", "parts")
    report = json.loads((tmp_path / "aligner" / "aligner.json").read_text())
    assert report["source"]["count"] == 40 and report["target"]["count"] == 12
    assert report["source"]["view"] == report["target"]["view"] == "parts"
    geometry = ("geometry", "--source", texts, "--target", images, "--out", tmp_path / "geometry")
    assert "choose with --view" in refuse(capsys, *geometry)
    assert "are no pairs" in refuse(capsys, *geometry, "--view", "parts", "--pairs")
    run(*geometry, "--view", "whole")
    assert "view `whole`" in (tmp_path / "geometry" / "report.md").read_text()
    apply = ("apply", "--aligner", tmp_path / "aligner", "--source", texts, "--out", tmp_path / "aligned")
    assert "choose with --view" in refuse(capsys, *apply)
    assert "is of wholes, the aligner of parts; choose the same" in refuse(capsys, *apply, "--view", "whole")
    run(*apply, "--view", "parts")
    aligned = Store.open(tmp_path / "aligned")
    assert len(aligned) == 40 and aligned.ids()[:2] == ["0#1", "0#2"] and aligned.manifest.views is None
    capsys.readouterr()
    run("inspect", images)
    assert "views: 2x2:mask" in capsys.readouterr().out
    refused = refuse(capsys, "encode", "--encoder", "demo", "--images", pictures, "--views", "clauses", "--out", "x")
    assert "views 'clauses': write 1, or ROWSxCOLUMNS" in refused


def test_wholes_and_parts_are_not_fitted_together(store, rng, tmp_path):
    rows, numbers = unit_rows(rng, 6, 6), [0, 1, 2] * 2
    images = write_store(tmp_path / "i", rows, modality="image", ids=list("aaabbb"), views="1x2:mask", numbers=numbers)
    for source, target in (("parts", "whole"), ("whole", "parts"), ("1", "parts")):
        with pytest.raises(RevisionError, match="is of .*, .* of .*; choose the same with --view"):
            ReAlign().fit(of_view(store, source), of_view(images, target), held_out=0)
    parts = ReAlign().fit(of_view(store, "parts"), of_view(images, "parts"), held_out=0)
    report = parts.report.to_json()
    assert report["source"]["views"] == "clauses:en" and report["target"]["views"] == "1x2:mask"
    with pytest.raises(RevisionError, match="is of wholes, the aligner of parts"):
        parts.refit_source(of_view(store, "whole"), held_out=0)
    with pytest.raises(RevisionError, match="is of wholes, the aligner of parts"):
        apply_aligner(parts, of_view(store, "whole"), tmp_path / "aligned")
    parts.save(tmp_path / "parts")
    assert load_aligner(tmp_path / "parts").report == parts.report


def test_a_stopped_apply_must_repeat_its_view(store, rng, tmp_path, monkeypatch):
    aligner = ReAlign().fit(unit_rows(rng, 50, 6), unit_rows(rng, 40, 6), encoder=store.encoder)
    monkeypatch.setattr(StoreWriter, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        apply_aligner(aligner, of_view(store, "whole"), tmp_path / "out")
    monkeypatch.setattr("revision_plugin.aligners.apply.require_same_view", lambda *_: None)
    with pytest.raises(RevisionError, match="view"):
        apply_aligner(aligner, of_view(store, "parts"), tmp_path / "out")


def test_changed_numbers_of_views_are_found(store):
    shard = store.path / store.manifest.shards[0]
    table = pa.ipc.open_stream(shard.read_bytes()).read_all()
    rolled = pa.array(np.roll(table.column("view").to_numpy(), 1), pa.int32())
    table = table.set_column(2, table.schema.field("view"), rolled)
    with pa.OSFile(str(shard), "wb") as handle, pa.ipc.new_stream(handle, table.schema) as stream:
        stream.write_table(table)
    with pytest.raises(RevisionError, match="does not match its hash"):
        of_view(Store.open(store.path), "parts").verify_embeddings()


def test_a_stopped_run_must_repeat_its_views(pictures, tmp_path, monkeypatch):
    encoder, out = load_encoder("demo"), tmp_path / "s"
    monkeypatch.setattr("revision_plugin.embeddings.encode.CHUNK_ROWS", 2)
    views = ImageViews.parse("2x2")
    whole = encode_images(encoder, pictures, tmp_path / "whole", views=views)
    original = StoreWriter.write_chunk

    def stop(self, chunk, *arguments, **keywords):
        if chunk == 1:
            raise KeyboardInterrupt
        original(self, chunk, *arguments, **keywords)

    monkeypatch.setattr(StoreWriter, "write_chunk", stop)
    with pytest.raises(KeyboardInterrupt):
        encode_images(encoder, pictures, out, views=views)
    monkeypatch.setattr(StoreWriter, "write_chunk", original)
    with pytest.raises(RevisionError, match="views"):
        encode_images(encoder, pictures, out, views=ImageViews.parse("2x2:crop"))
    assert encode_images(encoder, pictures, out, views=views).manifest.content_hash == whole.manifest.content_hash
