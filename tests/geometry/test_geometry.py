"""Every metric against a case whose answer is known, and its invariances."""

import numpy as np
import pytest
from conftest import unit_rows, write_store
from scipy.stats import norm

from revision_plugin.embeddings.item_views import of_view
from revision_plugin.embeddings.store import Store
from revision_plugin.errors import NotMeasurable, RevisionError
from revision_plugin.geometry import preservation, spectrum
from revision_plugin.geometry.decomposition import Decomposition, Frame
from revision_plugin.geometry.density import js_divergence, pairwise_cosines
from revision_plugin.geometry.neighbours import mixing, nearest, neighbourhood_overlap
from revision_plugin.geometry.pairs import match_ids
from revision_plugin.geometry.shape import tyler_shape


def rotation(rng, dim):
    return np.linalg.qr(rng.normal(size=(dim, dim)))[0]


def covariance(rng, dim, values):
    turn = rotation(rng, dim)
    return turn @ np.diag(values) @ turn.T, turn


def test_js_divergence_of_gaussians_with_a_known_answer(rng):
    first, second = rng.normal(0, 1, 20000), rng.normal(2, 1, 20000)
    grid = np.linspace(-10, 12, 100001)
    p, q = norm.pdf(grid), norm.pdf(grid, 2)
    m = (p + q) / 2
    expected = np.trapezoid(p * np.log(p / m) + q * np.log(q / m), grid) / 2
    assert js_divergence(first, second) == pytest.approx(expected, abs=0.01)
    assert js_divergence(first, second) == js_divergence(second, first)
    assert js_divergence(first, first) == 0
    assert js_divergence(first, first + 50) == pytest.approx(np.log(2), abs=1e-3)
    with pytest.raises(NotMeasurable, match="cosines are equal"):
        js_divergence(first, np.ones(5))


def test_pairwise_cosines_are_of_different_rows():
    cosines = pairwise_cosines(5 * np.eye(6), pairs=500)
    assert cosines.shape == (500,) and (cosines == 0).all()
    with pytest.raises(NotMeasurable):
        pairwise_cosines(np.ones((1, 3)))


def test_neighbours_are_other_rows_by_cosine():
    angles = np.array([0.0, 0.1, 0.3, 2.0])
    rows = np.stack([np.cos(angles), np.sin(angles)], 1) * np.array([[1.0], [9.0], [0.1], [4.0]])
    assert nearest(rows, 1)[:, 0].tolist() == [1, 0, 1, 2]
    with pytest.raises(NotMeasurable, match="at least 5 rows"):
        nearest(rows, 4)


def test_neighbours_of_duplicates_are_other_rows():
    indices = nearest(np.repeat(np.eye(2), 4, axis=0), 3)
    for row, neighbours in enumerate(indices):
        assert sorted(neighbours) == [i for i in range(row // 4 * 4, row // 4 * 4 + 4) if i != row]


def test_the_approximate_index_finds_nearly_the_same(rng):
    rows = unit_rows(rng, 3000, 16)
    exact, approximation = nearest(rows, 10), nearest(rows, 10, approximate=True)
    shared = np.mean([len(np.intersect1d(a, b)) for a, b in zip(exact, approximation)]) / 10
    assert shared > 0.9 and (approximation != np.arange(3000)[:, None]).all()


def test_overlap_and_mixing_with_known_answers(rng):
    rows = unit_rows(rng, 400, 12)
    assert neighbourhood_overlap(rows, 3 * rows @ rotation(rng, 12)) == 1
    shuffled = neighbourhood_overlap(rows, unit_rows(rng, 400, 12))
    assert shuffled == pytest.approx(10 / 399, abs=0.02)  # two independent sets of 10 among 399
    rate, at_texts, at_images = mixing(rows[:200], rows[200:])
    assert rate == pytest.approx(200 / 399, abs=0.03)
    assert (at_texts, at_images) == (pytest.approx(1, abs=0.03), pytest.approx(1, abs=0.03))
    assert mixing(rows + 1.5, rows - 1.5) == (0, 0, 0)
    orders = [rng.permutation(400) for _ in range(20)]  # chance knows how many of each there are
    mean_entropies = np.mean([mixing(rows[order[:40]], rows[order[40:]])[1:] for order in orders], 0)
    np.testing.assert_allclose(mean_entropies, 1, atol=0.07)


def test_an_isotropic_spectrum():
    values = spectrum.eigenvalues(0.3 * np.eye(16))
    assert spectrum.effective_rank(values) == pytest.approx(16)
    assert spectrum.effective_dimension(values) == pytest.approx(16)
    assert spectrum.anisotropy(values) == pytest.approx(1)
    assert spectrum.condition_number(values) == pytest.approx(1)
    assert spectrum.power_law_exponent(values) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(spectrum.cumulative_energy(values), np.arange(1, 17) / 16)


def test_a_power_law_spectrum_in_any_basis(rng):
    expected_values = np.arange(1, 41) ** -1.33
    matrix, _ = covariance(rng, 40, expected_values)
    values = spectrum.eigenvalues(matrix)
    np.testing.assert_allclose(values, expected_values, rtol=1e-9)
    assert spectrum.power_law_exponent(values) == pytest.approx(1.33)
    assert spectrum.power_law_exponent(7 * values) == pytest.approx(1.33)
    assert spectrum.condition_number(values) == pytest.approx(40**1.33)
    assert spectrum.anisotropy(values) == pytest.approx(1 / expected_values.mean())
    shares = expected_values / expected_values.sum()
    assert spectrum.effective_rank(values) == pytest.approx(np.prod(shares**-shares))
    assert spectrum.effective_dimension(values) == pytest.approx(1 / np.square(shares).sum())


def test_singular_and_constant_spectra_are_not_measurable(rng):
    rows = rng.normal(size=(5, 12))
    with pytest.raises(NotMeasurable, match="rank 4 of 12"):
        spectrum.condition_number(spectrum.eigenvalues(np.cov(rows.T)))
    with pytest.raises(NotMeasurable, match="constant"):
        spectrum.eigenvalues(np.zeros((3, 3)))
    with pytest.raises(NotMeasurable, match="at least 3"):
        spectrum.power_law_exponent(np.array([1.0, 0.0, 0.0]))
    with pytest.raises(NotMeasurable, match="different"):
        spectrum.log_spectrum_correlation(np.ones(4), np.array([4.0, 3, 2, 1]))


def test_two_spectra(rng):
    first, second = np.arange(1, 31) ** -1.0, 5 * np.arange(1, 31) ** -2.0
    assert spectrum.log_spectrum_correlation(first, second) == pytest.approx(1)  # both straight in log rank


def shared_spaces(first, second, counts):
    return spectrum.subspace_overlap(spectrum.eigenpairs(first)[1], spectrum.eigenpairs(second)[1], counts)


def test_subspace_overlap_of_equal_orthogonal_and_random_spaces(rng):
    matrix, turn = covariance(rng, 24, np.arange(24, 0, -1.0))
    assert shared_spaces(matrix, 3 * matrix, [1, 6]) == {1: pytest.approx(1), 6: pytest.approx(1)}
    reverse = turn @ np.diag(np.arange(1, 25.0)) @ turn.T
    assert shared_spaces(matrix, reverse, [12])[12] == pytest.approx(0, abs=1e-12)
    random = [shared_spaces(matrix, covariance(rng, 24, np.arange(24, 0, -1.0))[0], [6])[6] for _ in range(200)]
    assert np.mean(random) == pytest.approx(6 / 24, abs=0.01)


def test_principal_angle():
    flat, tilted = np.eye(3)[:, :2], np.array([[1, 0], [0, np.cos(0.3)], [0, np.sin(0.3)]])
    assert spectrum.principal_angle_sine(flat, tilted) == pytest.approx(np.sin(0.3))
    assert spectrum.principal_angle_sine(flat, flat[:, ::-1]) == 0
    assert spectrum.principal_angle_sine(np.eye(3)[:, :1], np.eye(3)[:, 2:]) == pytest.approx(1)


def test_tyler_finds_the_shape_under_any_radius(rng):
    shape = np.diag([4.0, 1.0, 1.0, 0.5])
    shape *= 4 / np.trace(shape)
    rows = rng.normal(size=(20000, 4)) @ np.sqrt(shape)
    heavy = rows * rng.standard_cauchy(size=(20000, 1))
    np.testing.assert_allclose(tyler_shape(heavy), shape, atol=0.05)
    np.testing.assert_allclose(tyler_shape(heavy), tyler_shape(rows * 100), atol=2e-3)
    estimate = tyler_shape(rows, tolerance=1e-10)  # the fixed point of eq. (45), in plain numpy
    weights = np.einsum("ij,jk,ik->i", rows, np.linalg.inv(estimate), rows)
    again = np.einsum("ij,ik,i->jk", rows, rows, 1 / weights)
    np.testing.assert_allclose(again * 4 / np.trace(again), estimate, atol=1e-8)
    with pytest.raises(NotMeasurable, match="more than 4 rows"):
        tyler_shape(rows[:4])
    with pytest.raises(NotMeasurable, match="subspace"):
        tyler_shape(np.concatenate([rows[:50, :3], np.zeros((50, 1))], 1))


@pytest.fixture
def pairs(rng):
    """Texts and images [3000, 10] whose difference has a bias and an anisotropic residual."""
    texts = unit_rows(rng, 3000, 10)
    images = unit_rows(rng, 3000, 10, 0.3) * 0.3 + texts
    return texts, images / np.linalg.norm(images, axis=1, keepdims=True)


def decompose(texts, images):
    difference = images - texts
    frame = Frame.of(np.cov(texts.T, bias=True), np.cov(images.T, bias=True), energy=0.8)
    return Decomposition.of(frame, difference.mean(0), np.cov(difference.T, bias=True)), difference


def test_the_decomposition_is_exact(pairs):
    split, difference = decompose(*pairs)
    delta, zeta = split.residuals(difference)
    np.testing.assert_allclose(split.beta + delta + split.gamma + zeta, difference, atol=1e-15)
    u, v = split.frame.u, split.frame.v
    np.testing.assert_allclose(np.hstack([u, v]).T @ np.hstack([u, v]), np.eye(10), atol=1e-12)
    for inside_u in (split.beta, delta):
        assert np.abs(inside_u @ v).max() < 1e-14
    for inside_v in (split.gamma, zeta):
        assert np.abs(inside_v @ u).max() < 1e-14
    energies = split.energies()
    assert sum(energies.values()) == pytest.approx(np.square(difference).sum(1).mean(), rel=1e-12)
    assert energies["residual_V"] == pytest.approx(np.square(zeta).sum(1).mean(), rel=1e-12)
    assert split.coverage() == pytest.approx(energies["residual_U"] / np.square(delta + zeta).sum(1).mean(), rel=1e-12)
    assert split.condition_u() == pytest.approx(np.linalg.cond(np.cov((delta @ u).T)))


def test_the_decomposition_turns_with_the_space(pairs, rng):
    turn = rotation(rng, 10)
    plain, turned = decompose(*pairs)[0], decompose(*(rows @ turn for rows in pairs))[0]
    assert turned.energies() == pytest.approx(plain.energies(), rel=1e-9)
    np.testing.assert_allclose(turned.gamma, plain.gamma @ turn, atol=1e-12)
    assert turned.coupling(count=3000) == pytest.approx(plain.coupling(count=3000), rel=1e-9)


def test_coupling_of_a_known_map(rng):
    """zeta = L delta + noise, against the regression written out."""
    frame = Frame(np.eye(6)[:, :4], np.eye(6)[:, 4:])
    linear = rng.normal(size=(2, 4))
    delta = rng.normal(size=(50000, 4)) * [2, 1, 1, 0.5]
    for noise, explained in ((0.0, 1.0), (1.0, None)):
        zeta = delta @ linear.T + noise * rng.normal(size=(50000, 2))
        rows = np.hstack([delta, zeta])
        rows -= rows.mean(0)
        split = Decomposition.of(frame, np.zeros(6), np.cov(rows.T, bias=True))
        strength, share = split.coupling(count=len(rows), ridge=1e-9)
        assert strength == pytest.approx(np.linalg.norm(linear, 2), rel=0.02)
        if explained is None:
            fitted = np.linalg.lstsq(rows[:, :4], rows[:, 4:], rcond=None)[0]
            rest = np.square(rows[:, 4:] - rows[:, :4] @ fitted).sum()
            explained = 1 - rest / np.square(rows[:, 4:]).sum()
        assert share == pytest.approx(explained, abs=1e-6)


def test_the_bias_angle():
    frame = Frame(np.eye(4)[:, :1], np.eye(4)[:, 1:])
    for direction, expected_angle in ((1, 0), (2, 90)):
        split = Decomposition.of(frame, np.eye(4)[direction] * -0.4, np.eye(4))
        assert split.bias_angle(np.eye(3)[0]) == pytest.approx(expected_angle, abs=1e-6)


def test_preservation(rng):
    rows = unit_rows(rng, 500, 8)
    turned = 2 * rows @ rotation(rng, 8)
    assert preservation.similarity_correlation(rows, turned) == pytest.approx(1)
    assert preservation.mean_cosine(rows, 3 * rows) == pytest.approx(1)
    assert preservation.mean_cosine(rows, -rows) == pytest.approx(-1)
    assert abs(preservation.similarity_correlation(rows, unit_rows(rng, 500, 8))) < 0.1
    with pytest.raises(NotMeasurable, match="equal"):
        preservation.similarity_correlation(rows, np.ones((500, 8)))


def test_residual_ratios_of_a_shift_and_of_noise(rng):
    rows = rng.normal(size=(4000, 5))
    assert preservation.residual_ratios(rows, rows + 3) == pytest.approx((0, 0), abs=1e-12)
    assert preservation.residual_ratios(rows, rows + rng.normal(size=rows.shape)) == pytest.approx((1, 1), abs=0.01)
    energy, distance = preservation.residual_ratios(rows, rows + [2, 0, 0, 0, 0] + rng.normal(size=rows.shape))
    assert energy == pytest.approx(5 / 9, abs=0.02) and distance == pytest.approx(np.sqrt(energy), abs=0.03)
    with pytest.raises(NotMeasurable, match="do not differ"):
        preservation.residual_ratios(rows, rows)


def test_pairs_are_matched_by_id_without_all_ids_in_memory(tmp_path, rng, monkeypatch):
    ids = [f"id {number}" for number in range(50)]
    shuffled = [*rng.permutation(ids), "another"]
    in_shards = dict(chunk=20, rows_per_shard=20)
    source = write_store(tmp_path / "s", unit_rows(rng, 50, 4), ids=ids, **in_shards)
    target = write_store(tmp_path / "t", unit_rows(rng, 51, 4), ids=shuffled, modality="image", **in_shards)
    monkeypatch.setattr(Store, "ids", None)
    monkeypatch.setattr("revision_plugin.geometry.pairs.IDS_AT_A_TIME", 7)
    assert [shuffled[row] for row in match_ids(source, target)] == ids
    with pytest.raises(RevisionError, match="t: 1 of 51 ids are not in .*s, first 'another'; leave out --pairs"):
        match_ids(target, source)
    views = dict(views="1x2", numbers=[0, 1, 2] * 2, ids=["a"] * 3 + ["b"] * 3, modality="image")
    parts = of_view(write_store(tmp_path / "v", unit_rows(rng, 6, 4), **views), "parts")
    with pytest.raises(RevisionError, match="v: ids are not unique, so rows cannot be paired"):
        match_ids(source, parts)
