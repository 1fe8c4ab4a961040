"""Corpora as rows that are encoded as they are read: the same rows as a store's, in any cut, and their failures."""

import json

import numpy as np
import pytest
from PIL import Image

from revision_plugin.aligners import ALIGNERS, ReAlign
from revision_plugin.aligners.sampled_fit import draw, fit_on_sample
from revision_plugin.embeddings import encode, encoded_rows
from revision_plugin.embeddings.encode import encode_images, encode_texts
from revision_plugin.embeddings.encoded_rows import of_images, of_texts
from revision_plugin.embeddings.rows import EveryNth
from revision_plugin.encoders import load_encoder
from revision_plugin.errors import RevisionError


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("demo")


@pytest.fixture
def corpora(tmp_path, rng, monkeypatch):
    """60 texts and 30 images in chunks of 16, some of which cannot be used: texts 3, 15, 16 and 59, images 0 and 17."""
    for module, name in ((encode, "CHUNK_ROWS"), (encoded_rows, "CHUNK_ROWS")):
        monkeypatch.setattr(module, name, 16)
    animals, colours = ["dog", "cat", "fish", "whale", "bird"], ["red", "blue", "green", "yellow"]
    texts = [{"text": f"a {rng.choice(animals)} on {rng.choice(colours)} {'ground ' * (i % 7)}"} for i in range(60)]
    for index in (3, 15, 16, 59):
        texts[index] = {"text": None}
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    (tmp_path / "pictures").mkdir()
    for index in range(30):
        pixels = rng.integers(0, 255, (24, 24, 3), np.uint8) // (1 + index % 4)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{index:02}.png")
    for index in (0, 17):
        (tmp_path / "pictures" / f"{index:02}.png").write_text("none")
    return tmp_path / "texts.json", tmp_path / "pictures"


@pytest.fixture
def stores(corpora, encoder, tmp_path):
    settings = dict(dtype="float32", batch_size=8, max_failures=4)
    return (
        encode_texts(encoder, corpora[0], tmp_path / "t", **settings),
        encode_images(encoder, corpora[1], tmp_path / "i", **settings),
    )


@pytest.fixture
def rows(corpora, encoder):
    return tuple(
        make(encoder, path, batch_size=8, max_failures=4) for make, path in zip((of_texts, of_images), corpora)
    )


def all_of(rows, *arguments):
    return np.concatenate([*rows.blocks(*arguments)])


def test_they_are_the_rows_of_a_store(rows, stores):
    for made, store in zip(rows, stores):
        assert len(made) == len(store) and made.dim == store.dim and made.passes == 0
        stored = all_of(store, 1000)
        np.testing.assert_array_equal(all_of(made, 5), stored)
        assert made.passes == 1
        for start, stop in [(0, 3), (3, 14), (12, 28), (27, None), (13, 14)]:
            np.testing.assert_array_equal(all_of(made, 7, start, stop), stored[start:stop])


def test_reading_on_goes_on_and_reading_back_is_a_new_pass(rows):
    texts, _ = rows
    for start in range(0, 56, 4):
        list(texts.blocks(3, start, start + 4))
    assert texts.passes == 1
    list(texts.blocks(3, 50))
    assert texts.passes == 1, "the chunk that was read last is still there"
    list(texts.blocks(3, 0, 2))
    assert texts.passes == 2


@pytest.mark.parametrize(
    "method, options, source_passes, target_passes",
    [("mean_shift", {}, 2, 1), ("realign", {}, 3, 1), ("realign", {"centroid_rounds": 2}, 4, 1), ("monge", {}, 3, 1)],
)
def test_a_fit_is_that_of_float32_stores(rows, stores, method, options, source_passes, target_passes):
    made = ALIGNERS.get(method)(**options).fit(*rows, held_out=0)
    stored = ALIGNERS.get(method)(**options).fit(*stores, held_out=0)
    for name, value in stored.parameters.items():
        np.testing.assert_allclose(made.parameters[name], value, rtol=0, atol=1e-12, err_msg=name)
    assert abs(made.report.centroid_gap - stored.report.centroid_gap) < 1e-12
    assert (rows[0].passes, rows[1].passes) == (source_passes, target_passes)
    assert len(made.report.source.content_hash) == 64


def test_rows_held_out_and_drawn_are_the_same_too(rows, stores):
    made, stored = (ReAlign().fit(*corpora, held_out=0.25).report for corpora in (rows, stores))
    assert abs(made.held_out.centroid_gap - stored.held_out.centroid_gap) < 1e-12
    np.testing.assert_array_equal(
        all_of(EveryNth(rows[0], 4, chosen=True), 9), all_of(EveryNth(stores[0], 4, chosen=True), 9)
    )
    first, second = (fit_on_sample(ReAlign(), *corpora, rows=20, seed=1) for corpora in (rows, stores))
    np.testing.assert_allclose(first.parameters["source_mean"], second.parameters["source_mean"], atol=1e-6)
    assert abs(first.report.sampled.gap_error - second.report.sampled.gap_error) < 1e-6


def test_a_draw_encodes_no_other_items(rows, stores, encoder, monkeypatch):
    encoded = []
    tokenize = type(encoder).tokenize
    monkeypatch.setattr(type(encoder), "tokenize", lambda self, texts: encoded.extend(texts) or tokenize(self, texts))
    drawn = draw(rows[0], 10, seed=3)
    got = all_of(drawn, 4)
    expected = all_of(draw(stores[0], 10, seed=3), 4)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert len(encoded) == len(got) == 10


def test_unusable_items_need_a_budget(corpora, encoder, tmp_path):
    texts, pictures = corpora
    with pytest.raises(RevisionError, match=r"4 unusable item\(s\), first '3': has no caption.* --max-failures 4"):
        of_texts(encoder, texts, max_failures=3)
    with pytest.raises(RevisionError, match=r"2 unusable item\(s\), first '00.png'"):
        of_images(encoder, pictures, max_failures=1)
    images = of_images(encoder, pictures)  # not decoded yet
    with pytest.raises(RevisionError, match="'00.png' cannot be used: .*--max-failures"):
        list(images.blocks(4))
    (tmp_path / "empty.json").write_text("[]")
    with pytest.raises(RevisionError, match="holds no text; nothing to encode"):
        of_texts(encoder, tmp_path / "empty.json")


def test_a_corpus_that_changes_between_passes_is_noticed(rows, corpora):
    texts, path = rows[0], corpora[0]
    list(texts.blocks(8))
    path.write_text(json.dumps(json.loads(path.read_text())[:40]))
    with pytest.raises(RevisionError, match="has changed since the first pass"):
        list(texts.blocks(8))


def test_texts_that_are_cut_are_counted_once(encoder, tmp_path):
    (tmp_path / "long.txt").write_text("a dog\n" + "dog " * 500 + "\n")
    rows = of_texts(encoder, tmp_path / "long.txt")
    for _ in range(2):
        list(rows.blocks(1, 1))
        rows._cached = (-1, rows._cached[1])
    assert rows.truncated == 1 and rows.passes == 2
