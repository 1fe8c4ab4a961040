"""Where an image lies between texts and images, against the same worked out another way."""

import numpy as np
import pytest
from conftest import unit_rows, write_store
from PIL import Image
from sklearn.decomposition import PCA

from revision_plugin.aligners import ReAlign, load_aligner
from revision_plugin.chat import embedding_space
from revision_plugin.chat.cloud_picture import draw
from revision_plugin.chat.embedding_space import ALIGNED, IMAGES, TEXTS, EmbeddingSpace
from revision_plugin.chat.sight_tables import cosine_table, missing_parts, neighbour_tables
from revision_plugin.embeddings.store import Store
from revision_plugin.encoders import load_encoder
from revision_plugin.errors import RevisionError


@pytest.fixture
def opened(stores):
    return Store.open(stores / "texts"), Store.open(stores / "images")


@pytest.fixture
def image(world_files):
    return Image.open(sorted((world_files / "images").iterdir())[3]).convert("RGB")


def rows_of(store):
    rows = np.concatenate([*store.blocks()]).astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_nearest_captions_and_the_cosines_to_the_centroids(opened, stores, image):
    texts, images = opened
    sight = EmbeddingSpace.open(texts, images, stores / "realign").look(image, 5)
    row = images.row(images.ids().index("00003.png"))["embedding"]
    clouds = {TEXTS: rows_of(texts), IMAGES: rows_of(images)}
    clouds[ALIGNED] = load_aligner(stores / "realign").transform(clouds[TEXTS])
    for name, rows in clouds.items():
        centroid = rows.mean(0)
        assert sight.cosines[name] == pytest.approx(centroid @ row / np.linalg.norm(centroid), abs=1e-3)
    captions = texts.column("text").to_pylist()
    for name in (TEXTS, ALIGNED):
        cosines = clouds[name] @ row
        assert len({each.text for each in sight.nearest[name]}) == 5
        assert [each.cosine for each in sight.nearest[name]] == pytest.approx(np.sort(cosines)[::-1][:5], abs=2e-3)
        for each in sight.nearest[name]:
            at = texts.ids().index(each.id)
            assert captions[at] == each.text and cosines[at] == pytest.approx(each.cosine, abs=2e-3)
    assert sight.nearest[TEXTS] != sight.nearest[ALIGNED]


def test_the_picture_is_a_pca_of_both_clouds(opened, image, monkeypatch):
    """Of as many texts as images, a PCA of their union."""
    monkeypatch.setattr(embedding_space, "PICTURED", 30)
    space = EmbeddingSpace.open(*opened)
    sight = space.look(image)
    chosen = {
        name: np.sort(np.random.default_rng(0).choice(n, 30, replace=False)) for name, n in ((TEXTS, 60), (IMAGES, 40))
    }
    union = np.concatenate([rows_of(store)[chosen[name]] for store, name in zip(opened, (TEXTS, IMAGES))])
    pca = PCA(2).fit(union)
    found = np.concatenate([space.points[TEXTS], space.points[IMAGES], [sight.place]])
    expected = pca.transform(np.concatenate([union, [space.embed(image)]]))
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-3)
    np.testing.assert_allclose(space.shares, pca.explained_variance_ratio_, atol=1e-3)
    figure = draw(space, sight)
    assert [trace.name for trace in figure.data] == ["texts", "images", "this image"]
    assert [len(trace.x) for trace in figure.data] == [30, 30, 1]
    captions = opened[0].column("text").to_pylist()
    assert [text.replace("<br>", " ") for text in figure.data[0].text] == [captions[row] for row in chosen[TEXTS]]


def test_of_a_large_store_a_sample_is_searched_and_the_page_says_so(opened, image, monkeypatch):
    monkeypatch.setattr(embedding_space, "HELD_ROWS", 12)
    space = EmbeddingSpace.open(*opened)
    sight = space.look(image, 100)
    assert space.searched == (12, 60)
    assert len(sight.nearest[TEXTS]) <= 12
    before, after = neighbour_tables(space, sight)
    assert "among a random 12 of 60 texts" in before and after == ""


def test_a_caption_of_many_items_is_shown_once_and_texts_are_no_markup(image, rng, tmp_path):
    encoder = load_encoder("demo")
    identity = encoder.identity.to_json()
    rows = unit_rows(rng, 6, encoder.dim)
    texts = ["<b>bold</b> & <script>"] * 3 + ["a dog", "a cat", "a dog"]
    source = write_store(tmp_path / "texts", rows, texts=texts, encoder=identity)
    target = write_store(tmp_path / "images", rows[:4], modality="image", encoder=identity)
    space = EmbeddingSpace.open(source, target)
    sight = space.look(image)
    assert sorted(each.text for each in sight.nearest[TEXTS]) == sorted(set(texts))
    table, _ = neighbour_tables(space, sight)
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &lt;script&gt;" in table and "<b>" not in table
    assert all("<b>" not in text for text in draw(space, sight).data[0].text)
    assert cosine_table(space, sight).count("<tr>") == 3


def test_stores_that_do_not_belong_together_are_refused(opened, stores, rng, tmp_path):
    texts, images = opened
    other = write_store(tmp_path / "other", unit_rows(rng, 5, images.dim), modality="image")
    lone = write_store(
        tmp_path / "lone", unit_rows(rng, 1, images.dim), modality="image", encoder=images.encoder.to_json()
    )
    ReAlign().fit(unit_rows(rng, 50, images.dim), unit_rows(rng, 50, images.dim, 1.0)).save(tmp_path / "aligner")
    for stores_given, aligner, line in (
        ((images, texts), None, "must be one of texts"),
        ((texts, texts), None, "must be one of images"),
        ((texts, other), None, "different encoders"),
        ((texts, lone), None, "holds 1 rows"),
        ((texts, images), tmp_path / "aligner", "which name no encoder"),
        ((texts, images), tmp_path / "none", "not an aligner"),
    ):
        with pytest.raises(RevisionError, match=line):
            EmbeddingSpace.open(*stores_given, aligner)


def test_what_was_not_given_is_said(opened, stores):
    space = EmbeddingSpace.open(*opened)
    aligned = EmbeddingSpace.open(*opened, stores / "realign")
    said = {
        flag: [flag in " ".join(missing_parts(*given)) for given in ((None, None), (space, None), (aligned, 1))]
        for flag in ("--source", "--aligner", "--stage1")
    }
    assert said == {
        "--source": [True, False, False],
        "--aligner": [False, True, False],
        "--stage1": [True, True, False],
    }
