"""C3 is measured with its noise, and the floor that this gives its centroid gap is sigma sqrt(d / N)."""

import numpy as np
import pytest
import torch
from conftest import unit_rows

from revision_plugin.aligners import ALIGNERS, ConnectCollapseCorrupt
from revision_plugin.aligners.noisy import CHUNK, NoisyRows
from revision_plugin.embeddings.moments import stream_moments
from revision_plugin.embeddings.rows import EveryNth, as_rows

DIM, SIGMA = 64, 0.02


def n(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@pytest.fixture
def c3(rng):
    """Rows, and C3 fitted from them onto themselves: its shift is zero, so what it changes is noise."""
    rows = unit_rows(rng, 9000, DIM, shift=0.2)
    return rows, ConnectCollapseCorrupt(sigma=SIGMA).fit(rows, rows, held_out=0)


def test_before_projection_the_gap_is_the_noises_mean(c3):
    """Nothing but the noise: rows and shift cancel. The norm of a Gaussian in 64 dimensions varies by 9 %."""
    torch.manual_seed(0)
    for count in (100, 1000, 9000):
        noise = SIGMA * torch.randn(40, count, DIM, dtype=torch.float64).mean(1)
        assert noise.norm(dim=1).square().mean().sqrt() == pytest.approx(SIGMA * np.sqrt(DIM / count), rel=0.06)


def test_the_aligners_own_gap_follows_it(c3):
    """Two seeds' centroids: what projection does to the mean is the same in both and cancels, the noise's mean stays.

    Projection takes away the noise along the row, one of d dimensions.
    """
    rows, aligner = c3
    for count in (500, 2000, 8000):
        part = as_rows(rows[:count])
        means = [stream_moments(NoisyRows(part, aligner, seed)).mean for seed in range(12)]
        spread = [np.square(a - b).sum() / 2 for a, b in zip(means[::2], means[1::2])]
        expected = SIGMA * np.sqrt((DIM - 1) / count)
        shrunk = np.sqrt(1 + SIGMA**2 * DIM)  # the mean length that projection takes away
        assert np.sqrt(np.mean(spread)) == pytest.approx(expected / shrunk, rel=0.12)


def test_projection_shortens_the_mean(rng):
    """The part of the gap that does not fall with the number of rows."""
    rows = unit_rows(rng, 6000, DIM, shift=0.4)
    aligner = ConnectCollapseCorrupt(sigma=0.1).fit(rows, rows, held_out=0)
    mean = stream_moments(NoisyRows(as_rows(rows), aligner, 0)).mean
    shortened = mean @ rows.mean(0) / np.square(rows.mean(0)).sum()
    assert shortened == pytest.approx(1 / np.sqrt(1 + 0.1**2 * DIM), rel=0.01)
    lost = (1 - shortened) * np.linalg.norm(rows.mean(0))
    assert aligner.report.centroid_gap == pytest.approx(lost, rel=0.02) and lost > 5 * 0.1 * np.sqrt(DIM / 6000)


def test_the_papers_plateau():
    assert round(0.02 * np.sqrt(1280 / 100_000), 4) == 0.0023


def test_the_fits_report_has_the_noise(c3, rng):
    rows, _ = c3
    target = unit_rows(rng, 3000, DIM, shift=-0.2)
    fits = [ConnectCollapseCorrupt(sigma=s).fit(rows, target, seed=4).report for s in (0.0, 0.3)]
    mean_shift = ALIGNERS.get("mean_shift")().fit(rows, target).report
    assert fits[0].centroid_gap == pytest.approx(mean_shift.centroid_gap, abs=1e-12)
    aligner = ConnectCollapseCorrupt(sigma=0.3).fit(rows, target, seed=4)
    noisy = np.concatenate(list(NoisyRows(as_rows(rows), aligner, 4).blocks(1000)))
    assert fits[1].centroid_gap == pytest.approx(np.linalg.norm(noisy.mean(0) - target.mean(0)), abs=1e-12)
    assert fits[1].aligned_trace == pytest.approx(np.square(noisy - noisy.mean(0)).sum(1).mean(), abs=1e-12)
    assert (
        fits[1].aligned_trace > fits[0].aligned_trace + 0.01 and fits[1].held_out.trace > fits[0].held_out.trace + 0.01
    )
    assert ConnectCollapseCorrupt(sigma=0.3).fit(rows, target, seed=5).report.centroid_gap != fits[1].centroid_gap
    assert aligner.report == fits[1], "the same seed, the same noise"
    np.testing.assert_allclose(aligner.parameters["shift"], target.mean(0) - rows.mean(0), atol=1e-14)


def test_a_rows_noise_does_not_depend_on_how_it_is_read(c3):
    rows, aligner = c3
    for whole in (as_rows(rows[: 2 * CHUNK + 77]), EveryNth(as_rows(rows), 3, chosen=True)):
        noisy = NoisyRows(whole, aligner, 1)
        everything = np.concatenate(list(noisy.blocks(10**6)))
        assert everything.shape == (len(whole), DIM)
        for start, stop, size in (
            (0, None, 100),
            (CHUNK - 3, CHUNK + 5, 4),
            (CHUNK, 2 * CHUNK, CHUNK),
            (1500, 10**9, 7),
        ):
            part = np.concatenate(list(noisy.blocks(size, start, stop)))
            np.testing.assert_array_equal(part, everything[start:stop])
            assert max(map(len, noisy.blocks(size, start, stop))) <= size
        plain = np.concatenate(list(whole.blocks(10**6)))
        residue = everything - n(plain)
        assert np.linalg.norm(residue, axis=1).mean() == pytest.approx(SIGMA * np.sqrt(DIM - 1), rel=0.02)
        assert abs(np.corrcoef(residue[:CHUNK, 0], residue[CHUNK : 2 * CHUNK, 0])[0, 1]) < 0.15, "chunks differ"


def test_torchs_generator_is_left_alone(c3):
    rows, aligner = c3
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    list(NoisyRows(as_rows(rows), aligner, 1).blocks(500))
    assert torch.equal(torch.random.get_rng_state(), before)
