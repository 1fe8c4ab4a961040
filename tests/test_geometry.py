import numpy as np
import pytest
from conftest import unit_rows
from scipy.stats import norm

from revision_plugin.geometry.density import js_divergence, pairwise_cosines
from revision_plugin.geometry.neighbours import mixing_rate, nearest, neighbourhood_overlap


def test_js_divergence_of_gaussians_with_a_known_answer(rng):
    first, second = rng.normal(0, 1, 20000), rng.normal(2, 1, 20000)
    grid = np.linspace(-10, 12, 100001)
    p, q = norm.pdf(grid), norm.pdf(grid, 2)
    m = (p + q) / 2
    wanted = np.trapezoid(p * np.log(p / m) + q * np.log(q / m), grid) / 2
    assert js_divergence(first, second) == pytest.approx(wanted, abs=0.01)
    assert js_divergence(first, second) == js_divergence(second, first)
    assert js_divergence(first, first) == 0
    assert js_divergence(first, first + 50) == pytest.approx(np.log(2), abs=1e-3)


def test_pairwise_cosines_are_of_different_rows():
    cosines = pairwise_cosines(5 * np.eye(6), pairs=500)
    assert cosines.shape == (500,) and (cosines == 0).all()
    with pytest.raises(ValueError):
        pairwise_cosines(np.ones((1, 3)))


def test_neighbours_are_other_rows_by_cosine():
    angles = np.array([0.0, 0.1, 0.3, 2.0])
    rows = np.stack([np.cos(angles), np.sin(angles)], 1) * np.array([[1.0], [9.0], [0.1], [4.0]])
    assert nearest(rows, 1)[:, 0].tolist() == [1, 0, 1, 2]
    with pytest.raises(ValueError, match="at least 5 rows"):
        nearest(rows, 4)


def test_overlap_and_mixing_with_known_answers(rng):
    rows = unit_rows(rng, 400, 12)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    assert neighbourhood_overlap(rows, 3 * rows @ turn) == 1
    shuffled = neighbourhood_overlap(rows, unit_rows(rng, 400, 12))
    assert shuffled == pytest.approx(10 / 399, abs=0.02)  # two independent sets of 10 among 399
    assert mixing_rate(rows[:200], rows[200:]) == pytest.approx(200 / 399, abs=0.03)
    assert mixing_rate(rows + 1.5, rows - 1.5) == 0
