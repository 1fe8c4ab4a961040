"""The planes that the pictures of clouds are drawn in, and what their titles say."""

import json
import re

import numpy as np
from conftest import run, unit_rows, write_store
from sklearn.decomposition import PCA

from revision_plugin.aligners import ALIGNERS
from revision_plugin.encoders import Identity
from revision_plugin.geometry.plots import gap_view, principal_view


def test_the_pca_is_that_of_both_clouds(rng):
    texts, images = unit_rows(rng, 300, 8, 0.3), unit_rows(rng, 300, 8, -0.3)
    centre, directions, shares = principal_view(images, texts)
    reference = PCA(2).fit(np.concatenate([images, texts]))
    np.testing.assert_allclose(centre, reference.mean_, atol=1e-12)
    np.testing.assert_allclose(np.abs(directions.T @ reference.components_.T), np.eye(2), atol=1e-9)
    np.testing.assert_allclose(shares, reference.explained_variance_ratio_, atol=1e-12)
    again = principal_view(images, np.concatenate([texts] * 3))
    np.testing.assert_allclose(again[0], centre, atol=1e-12)
    np.testing.assert_allclose(np.abs(again[1].T @ directions), np.eye(2), atol=1e-9)


def test_only_the_gap_view_always_shows_the_gap(rng):
    """A gap in a direction of little variance is in no principal component."""
    texts = rng.normal(size=(500, 6)) * [3, 3, 3, 3, 3, 0.1]
    images = rng.normal(size=(500, 6)) * [3, 3, 3, 3, 3, 0.1] + 0.5 * np.eye(6)[5]
    gap = images.mean(0) - texts.mean(0)
    for directions, least, most in ((principal_view(images, texts)[1], 0, 0.75), (gap_view(images, texts)[1], 1, 1)):
        shown = np.linalg.norm(gap @ directions) / np.linalg.norm(gap)
        assert least - 1e-9 <= shown <= most + 1e-9


def test_titles_give_the_mixing_rates_and_axes_the_variance(tmp_path, rng):
    texts, images = unit_rows(rng, 200, 8, 0.3), unit_rows(rng, 180, 8, -0.3)
    write_store(tmp_path / "texts", texts)
    write_store(tmp_path / "images", images, modality="image")
    aligner = ALIGNERS.get("realign")().fit(texts, images, encoder=Identity("test", "0" * 64), held_out=0)
    aligner.save(tmp_path / "mine")
    words = "--source", tmp_path / "texts", "--target", tmp_path / "images", "--aligner", tmp_path / "mine"
    run("geometry", *words, "--out", tmp_path / "report")
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())["metrics"]
    said = set(re.findall(r"<!-- (.*?) -->", (tmp_path / "report" / "pca.svg").read_text()))
    for cloud in ("source", "mine"):
        assert f"{cloud}: {metrics[cloud]['mixing_rate']:.2%} mixed" in said
    shares = principal_view(images.astype(np.float32).astype(float), texts.astype(np.float32).astype(float))[2]
    assert f"principal component 1 ({shares[0]:.0%} of the variance)" in said
    gap = (tmp_path / "report" / "gap.svg").read_text()
    assert "mixed" not in gap and "from the target's centroid to the raw source's" in gap
