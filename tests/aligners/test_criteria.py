"""Quantities that need no pairs, against values worked out by hand or by brute force, and the encoder's matches."""

import numpy as np
import pytest
from conftest import unit_rows
from scipy.spatial.distance import cdist

from revision_plugin.aligners import matching
from revision_plugin.aligners.criteria import (
    FLOORS,
    SMALLER_IS_BETTER,
    assignment_cosine,
    ball_shares,
    cluster_shift,
    energy_distance,
    gaussian_distances,
    kept_structure,
    nearest_rows,
    similarities,
    sliced_wasserstein,
    unpaired_criteria,
    variance_ratios,
    without_self,
)
from revision_plugin.aligners.matching import content_shift, mutual_matches
from revision_plugin.errors import RevisionError


def with_moments(mean, deviations):
    """Rows whose mean and diagonal covariance are exactly these."""
    signs = np.array([[(-1) ** (k >> bit) for bit in range(len(mean))] for k in range(2 ** len(mean))], float)
    return np.array(mean) + signs * deviations


def inside_and_between(source, target):
    return similarities(source, target), without_self(source), without_self(target)


def test_every_quantity_is_a_float_and_the_seed_fixes_it(rng):
    source, target = unit_rows(rng, 90, 24, shift=0.3), unit_rows(rng, 70, 24, shift=-0.2)
    aligned = unit_rows(rng, 90, 24, shift=-0.2)
    first, again, other = (unpaired_criteria(source, aligned, target, seed=seed) for seed in (1, 1, 2))
    assert first == again and first.keys() == other.keys() and first.keys() >= SMALLER_IS_BETTER | FLOORS
    assert first["sliced_wasserstein"] != other["sliced_wasserstein"]
    assert all(type(value) is float and np.isfinite(value) for value in first.values())


def test_rows_that_lie_where_the_target_lies_are_better_by_every_distance(rng):
    source, target = unit_rows(rng, 300, 16, shift=0.6), unit_rows(rng, 280, 16, shift=-0.6)
    kept, moved = (unpaired_criteria(source, rows, target, seed=0) for rows in (source, unit_rows(rng, 300, 16, -0.6)))
    for name in ("centroid_gap", "frechet_distance", "sliced_wasserstein", "energy_distance", "cluster_shift"):
        assert moved[name] < kept[name] / 2, name
    for name in ("precision", "recall", "coverage", "nearest_cosine_target", "assignment_cosine"):
        assert moved[name] > kept[name], name
    assert moved["sliced_wasserstein"] < 2 * moved["sliced_wasserstein_floor"] < kept["sliced_wasserstein"]
    assert kept["similarity_correlation"] == pytest.approx(1) and kept["kept_neighbours"] == 1
    assert moved["kept_neighbours"] < 0.2, "other rows keep no neighbours"


def test_the_distance_between_gaussians_by_hand():
    first, second = with_moments([0, 1, 0], [2, 1, 3]), with_moments([3, 1, 4], [1, 1, 1])
    found = gaussian_distances(first, second)
    assert found["centroid_gap"] == pytest.approx(5)
    assert found["bures_distance"] == pytest.approx(np.sqrt(1 + 0 + 4))
    assert found["frechet_distance"] == pytest.approx(np.sqrt(25 + 5))
    assert found["covariance_distance"] == pytest.approx(np.sqrt(9 + 64) / np.sqrt(3))


def test_one_slice_is_solved_by_sorting():
    first, second = np.array([[0.0], [3.0], [1.0]]), np.array([[5.0], [1.0], [2.0]])
    assert sliced_wasserstein(first, second, seed=0) == pytest.approx(np.sqrt((1 + 1 + 4) / 3))


def test_slices_of_a_shift_hold_their_share_of_it(rng):
    """The mean square of a unit direction's product with a shift is |shift|^2 / d."""
    rows = rng.normal(size=(40, 5))
    shift = np.array([3.0, 0, 0, 4, 0])
    assert sliced_wasserstein(rows, rows + shift, seed=0) == pytest.approx(5 / np.sqrt(5), rel=0.1)


def test_a_turn_keeps_the_structure_and_noise_does_not(rng):
    rows = unit_rows(rng, 60, 8)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    turned, noisy = (
        kept_structure(without_self(rows), without_self(each)) for each in (rows @ turn, unit_rows(rng, 60, 8))
    )
    assert turned == {"similarity_correlation": pytest.approx(1), "kept_neighbours": 1}
    assert noisy["similarity_correlation"] < 0.5 and noisy["kept_neighbours"] < 0.5


def test_ratios_of_variances_see_shape_and_not_size(rng):
    rows, others = rng.normal(size=(4000, 3)), rng.normal(size=(4000, 3))
    same, other = (variance_ratios(5 * rows * d, others, seed=0) for d in (1, [1, 1, 2]))
    assert same["variance_ratio_largest"] < 0.2
    # the ratios are (1, 1, 4) / 2 of the source's trace
    logs = np.log(np.array([1, 1, 4]) / 2)
    assert other["variance_ratio_spread"] == pytest.approx(logs.std(), abs=0.1)
    assert other["variance_ratio_largest"] == pytest.approx(np.abs(logs).max(), abs=0.1)


def test_balls_and_energies_by_brute_force(rng):
    source, target = unit_rows(rng, 30, 6, shift=0.2), unit_rows(rng, 25, 6)
    apart, in_source, in_target = cdist(source, target), cdist(source, source), cdist(target, target)
    source_radius, target_radius = (np.sort(each, axis=1)[:, 5] for each in (in_source, in_target))
    inside = [[apart[i, j] <= target_radius[j] for j in range(25)] for i in range(30)]
    found = ball_shares(*inside_and_between(source, target))
    assert found["precision"] == pytest.approx(np.mean([any(row) for row in inside]))
    assert found["recall"] == pytest.approx(
        np.mean([any(apart[i, j] <= source_radius[i] for i in range(30)) for j in range(25)])
    )
    assert found["density"] == pytest.approx(np.sum(inside) / 30 / 5)
    assert found["coverage"] == pytest.approx(np.mean([any(row[j] for row in inside) for j in range(25)]))
    expected = 2 * apart.mean() - in_source.sum() / (30 * 29) - in_target.sum() / (25 * 24)
    assert energy_distance(*inside_and_between(source, target)) == pytest.approx(expected, abs=1e-5)


def test_nearest_rows_by_brute_force(rng):
    cosines = rng.normal(size=(15, 13)).astype(np.float32)
    found = nearest_rows(cosines)
    assert found["nearest_cosine_source"] == pytest.approx(np.mean([max(row) for row in cosines]), abs=1e-6)
    assert found["nearest_cosine_target"] == pytest.approx(np.mean([max(row) for row in cosines.T]), abs=1e-6)
    mutual = [i for i in range(15) if cosines[:, cosines[i].argmax()].argmax() == i]
    assert found["mutual_nearest"] == pytest.approx(len(mutual) / 15)
    assert found["reached_targets"] == pytest.approx(len({int(row.argmax()) for row in cosines}) / 13)
    of_rows, of_columns = (np.array([np.sort(row)[-10:].mean() for row in each]) for each in (cosines, cosines.T))
    matches = [int(np.argmax(2 * cosines[i] - of_rows[i] - of_columns)) for i in range(15)]
    assert found["csls_cosine"] == pytest.approx(np.mean([cosines[i, j] for i, j in enumerate(matches)]), abs=1e-6)
    assert assignment_cosine(np.array([[0.9, 0.8], [0.85, 0.1]])) == pytest.approx((0.8 + 0.85) / 2)


def test_a_cluster_without_images_is_seen(rng):
    clumps = np.concatenate([rng.normal(size=(20, 3)) + 20, rng.normal(size=(20, 3)) - 20])
    one_sided = cluster_shift(clumps[:20:2].repeat(2, 0), clumps[:20], seed=0)
    assert one_sided["empty_clusters"] == 0
    found = cluster_shift(np.concatenate([clumps[:10], clumps[20:30]]), clumps[:20], seed=0)
    assert found == {"cluster_shift": 0.5, "empty_clusters": 0.5}


@pytest.mark.parametrize("rows, other, dim", [(11, 40, 8), (40, 11, 8), (40, 40, 7)])
def test_too_few_rows_and_other_shapes_are_refused(rng, rows, other, dim):
    source, target = unit_rows(rng, rows, 8), unit_rows(rng, other, dim)
    with pytest.raises(RevisionError, match="criteria need"):
        unpaired_criteria(source, source, target, seed=0)


def test_mutual_matches_by_brute_force_and_in_blocks(rng, monkeypatch):
    source, target = unit_rows(rng, 50, 6), unit_rows(rng, 40, 6, shift=0.4)
    directions = [rows - rows.mean(0) for rows in (source, target)]
    products = np.array([[np.dot(a, b) / np.sqrt(a @ a * (b @ b)) for b in directions[1]] for a in directions[0]])
    expected = [
        (i, j) for i in range(50) for j in range(40) if products[i].max() == products[i, j] == products[:, j].max()
    ]
    assert list(zip(*map(list, mutual_matches(source, target)))) == expected and len(expected) > 5
    monkeypatch.setattr(matching, "BLOCK", 7)
    assert list(zip(*map(list, mutual_matches(source, target)))) == expected


def test_pairs_are_found_across_a_gap(rng):
    """Images are their texts with noise, in another order and on the other side of the sphere."""
    texts, order = unit_rows(rng, 200, 24), rng.permutation(200)
    images = texts[order] + 0.05 * rng.normal(size=(200, 24)) - 3 * np.eye(24)[0]
    rows, matches = mutual_matches(texts, images / np.linalg.norm(images, axis=1, keepdims=True))
    assert len(rows) > 150 and (order[matches] == rows).mean() > 0.99


def test_the_content_test_knows_a_random_sample_from_another(rng):
    rows = rng.normal(size=(600, 10)) * np.linspace(3, 0.3, 10)
    by_chance = [content_shift(rows, rng.choice(600, 200, replace=False), seed=seed) for seed in range(60)]
    assert sum(each.differs for each in by_chance) <= 4, "one in a hundred is expected"
    assert np.mean([each.beaten for each in by_chance]) == pytest.approx(49.5, abs=15)
    chosen = np.argsort(rows[:, 4] + 3 * rng.normal(size=600))[:200]  # somewhat less along one direction
    found = content_shift(rows, chosen, seed=0)
    assert found.differs and found.distance > 1.2 * found.expected
    assert content_shift(rows, chosen, seed=0) == found
