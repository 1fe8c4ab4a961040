"""Why `bc` without a ridge collapses on float32 rows and not on the same rows in float16: rounding is a ridge."""

import numpy as np
import pytest

from revision_plugin.aligners import BlockwiseCovariance

DIM, USED = 48, 32  # texts lie in USED dimensions; images, and their mean, have all


@pytest.fixture(scope="module")
def clouds():
    rng = np.random.default_rng(2)
    turn = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    spreads, apart = np.geomspace(1.5, 0.05, USED), 0.6 * np.eye(USED)[-1]  # the gap is where both vary little
    texts = np.c_[rng.normal(size=(3000, USED)) * spreads + apart, np.zeros((3000, DIM - USED))]
    unused = 0.02 * rng.normal(size=(2500, DIM - USED)) + 0.03
    images = np.c_[rng.normal(size=(2500, USED)) * spreads - apart, unused]
    texts, images = (z / np.linalg.norm(z, axis=1, keepdims=True) @ turn for z in (texts, images))
    return texts.astype(np.float32), images.astype(np.float32)


def measured(source, target, rows, **options):
    """(centroid gap, trace) of `rows` under `bc` fitted on source and target."""
    aligner = BlockwiseCovariance(**options).fit(source, target, held_out=0)
    moved = aligner.transform(rows.astype(np.float64))
    images = target / np.linalg.norm(target.astype(float), axis=1, keepdims=True)
    return np.linalg.norm(moved.mean(0) - images.mean(0)), np.square(moved - moved.mean(0)).sum(1).mean()


def smallest(rows):
    """Mean of the eigenvalues in the directions that texts do not use."""
    rows = rows.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.linalg.eigvalsh(np.cov(rows.T, bias=True))[: DIM - USED].mean()


def test_float16_lifts_the_tail_of_the_spectrum_by_its_rounding(clouds):
    texts, _ = clouds
    rounded = texts.astype(np.float16)
    error = np.square(rounded.astype(np.float64) - texts).mean()
    assert smallest(texts) < 1e-15 and smallest(rounded) == pytest.approx(error, rel=0.5)
    assert error == pytest.approx(np.square(2.0 ** (np.floor(np.log2(np.abs(texts))) - 10)).mean() / 12, rel=0.05)


def test_the_two_collapse_differently_and_a_ridge_of_that_size_explains_it(clouds):
    texts, images = clouds
    bare, rounded = measured(texts, images, texts), measured(texts.astype(np.float16), images, texts)
    assert bare[0] > 2 * rounded[0] and bare[1] < rounded[1] / 1.5, (bare, rounded)
    only_images = measured(texts, images.astype(np.float16), texts)
    assert only_images == pytest.approx(bare, abs=0.02), "the images' rounding changes nothing"
    noise = np.random.default_rng(0).normal(size=texts.shape) * np.sqrt(smallest(texts.astype(np.float16)))
    assert measured(texts + noise, images, texts) == pytest.approx(rounded, abs=0.05)
    block = BlockwiseCovariance().energy
    texts64 = texts / np.linalg.norm(texts.astype(float), axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(np.cov(texts64.T, bias=True) + np.cov(images.T.astype(float), bias=True))
    rank = int((np.cumsum(values[::-1]) / values.sum() < block).sum()) + 1
    v = vectors[:, : DIM - rank]
    mean_eigenvalue = np.trace(v.T @ np.cov(texts64.T, bias=True) @ v) / v.shape[1]
    ridge = smallest(texts.astype(np.float16)) / mean_eigenvalue
    assert measured(texts, images, texts, ridge=ridge) == pytest.approx(rounded, abs=0.05)
    mended = measured(texts, images, texts, ridge=1e-3)
    assert mended[0] < rounded[0] / 3 and mended[1] > 0.8
