"""The rival methods and AnisoAlign: golden values, properties, bounds, ablations."""

import math

import numpy as np
import pytest
import torch
from conftest import unit_rows

from revision_plugin.aligners import ALIGNERS
from revision_plugin.aligners.aniso import AnisoAlign, phase
from revision_plugin.aligners.aniso.network import new_network, zero_start
from revision_plugin.aligners.aniso.refinement import correct
from revision_plugin.aligners.aniso.score import score_loss, train_prior
from revision_plugin.errors import RevisionError

SMALL = dict(steps=30, batch=64, hidden=32)


def n(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def clouds():
    rng = np.random.default_rng(5)
    source = unit_rows(rng, 3000, 24, shift=0.3)
    target = unit_rows(rng, 2500, 24, shift=-0.3) @ np.linalg.qr(rng.normal(size=(24, 24)))[0]
    return source, target


@pytest.fixture(scope="module")
def fitted(clouds):
    return ALIGNERS.get("aniso")(**SMALL).fit(*clouds, seed=1)


def test_mean_shift_and_c3_without_noise_are_the_formula(clouds):
    source, target = clouds
    expected = n(source - source.mean(0) + target.mean(0))
    for method in ("mean_shift", "c3"):
        out = ALIGNERS.get(method)().fit(source, target)(torch.from_numpy(source))
        np.testing.assert_allclose(out.numpy(), expected, atol=1e-12)


def test_c3_noise_is_fresh_seeded_and_only_in_training(clouds):
    source, target = clouds
    aligner, x = ALIGNERS.get("c3")(sigma=0.05).fit(source, target), torch.from_numpy(source)
    torch.manual_seed(0)
    one, two = aligner(x, training=True), aligner(x, training=True)
    torch.manual_seed(0)
    assert torch.equal(aligner(x, training=True), one) and not torch.equal(one, two)
    assert torch.equal(aligner(x), aligner(x))
    torch.manual_seed(0)
    noise = 0.05 * torch.randn_like(x).numpy()
    np.testing.assert_allclose(one.numpy(), n(source - source.mean(0) + target.mean(0) + noise), atol=1e-12)
    with pytest.raises(RevisionError, match="sigma must be"):
        ALIGNERS.get("c3")(sigma=-1).fit(source, target)


def test_tower_turns_the_noise_on_only_in_training(tiny_open_clip):
    from revision_plugin.encoders import load_encoder
    from revision_plugin.tower import PseudoVisionTower

    rng = np.random.default_rng(0)
    rows = unit_rows(rng, 50, 20)
    tower = PseudoVisionTower(
        load_encoder(f"open_clip:{tiny_open_clip}"), aligner=ALIGNERS.get("c3")(sigma=0.1).fit(rows, rows)
    )
    x = torch.from_numpy(rows).float()
    assert not torch.equal(tower.train()(x), tower(x))
    assert torch.equal(tower.eval()(x), tower(x))


def test_bc_matches_the_equations(clouds):
    """Equations (57) to (62), written with scipy's matrix square root."""
    from scipy.linalg import fractional_matrix_power, sqrtm

    source, target = clouds
    aligner = ALIGNERS.get("bc")(energy=0.7).fit(source, target)
    anchored = n(source - source.mean(0) + target.mean(0))
    cov = lambda z: np.cov(z.T, bias=True)  # noqa: E731
    values, vectors = np.linalg.eigh(cov(source) + cov(target))
    order = values.argsort()[::-1]
    rank = int((np.cumsum(values[order]) / values.sum() < 0.7).sum()) + 1
    mapped = 0
    for columns in (order[:rank], order[rank:]):
        q = vectors[:, columns]
        t = np.real(sqrtm(q.T @ cov(target) @ q)) @ np.real(fractional_matrix_power(q.T @ cov(anchored) @ q, -0.5))
        mapped = mapped + anchored @ q @ t.T @ q.T
    projected = n(mapped)
    expected = n(projected - projected.mean(0) + target.mean(0))
    np.testing.assert_allclose(aligner(torch.from_numpy(source)).numpy(), expected, atol=1e-9)


def test_bc_collapses_neighbourhoods_without_ridge_and_ridge_mends_it():
    """The paper's failure: a steep source spectrum, whitened, loses its neighbours; realign keeps them."""
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(3)
    scales = np.exp(-np.arange(40) / 3.0)
    source = n(rng.normal(size=(1500, 40)) * scales + 0.3)
    target = n(rng.normal(size=(1500, 40)) - 0.3)

    def overlap(method, **options):
        out = ALIGNERS.get(method)(**options).fit(source, target)(torch.from_numpy(source)).numpy()
        before, after = (
            NearestNeighbors(n_neighbors=10).fit(z).kneighbors(return_distance=False) for z in (source, out)
        )
        return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(before, after)])

    bare, ridged, realigned = overlap("bc"), overlap("bc", ridge=30.0), overlap("realign")
    assert bare < 0.25 and ridged > bare + 0.1 and realigned > 0.5


def test_bc_options(clouds):
    with pytest.raises(RevisionError, match="energy must be"):
        ALIGNERS.get("bc")(energy=2).fit(*clouds)
    out = ALIGNERS.get("bc")(shrinkage=0.5).fit(*clouds)(torch.from_numpy(clouds[0]))
    assert torch.isfinite(out).all()


def test_polar_round_trip_and_wrap():
    x = torch.randn(50, 8, dtype=torch.float64)
    radius, angle = phase.to_polar(x)
    torch.testing.assert_close(phase.to_cartesian(radius, angle), x, atol=1e-6, rtol=0)
    assert phase.wrap(torch.tensor(3 * math.pi / 2)).item() == pytest.approx(-math.pi / 2)


def test_phase_statistics_of_coupled_phases():
    """theta_1 = theta_0 + 0.7 exactly, theta_2 independent: the edge (0, 1) has strength 1 and offset -0.7."""
    generator = torch.Generator().manual_seed(0)
    first = (torch.rand(20000, 1, generator=generator, dtype=torch.float64) * 2 - 1) * math.pi
    third = (torch.rand(20000, 1, generator=generator, dtype=torch.float64) * 2 - 1) * math.pi
    angle = torch.cat([first, phase.wrap(first + 0.7), third], 1)
    radius = torch.tensor([[1.0, 2.0, 1.0]], dtype=torch.float64).expand(20000, 3)
    statistics = phase.phase_statistics(radius, angle, partners=1)
    edge = statistics["edges"].tolist().index([0, 1])
    assert statistics["strength"][edge].item() == pytest.approx(1.0, abs=1e-9)
    assert statistics["offset"][edge].item() == pytest.approx(-0.7, abs=1e-9)
    torch.testing.assert_close(statistics["alpha"], torch.tensor([1, 4, 1], dtype=torch.float64) / 6, atol=1e-6, rtol=0)


def test_gradient_is_the_gradient_of_a_potential():
    """Against autograd on Psi = -sum alpha cos(phi - psi) - sum A cos(phi_k - phi_l - eta)."""
    generator = torch.Generator().manual_seed(1)
    angle = (torch.rand(200, 6, generator=generator, dtype=torch.float64) * 2 - 1) * math.pi
    statistics = phase.phase_statistics(
        torch.rand(200, 6, generator=generator, dtype=torch.float64) + 0.5, angle, partners=2
    )
    x = angle[:7].clone().requires_grad_(True)
    first, second = statistics["edges"].T
    potential = (
        -(statistics["alpha"] * torch.cos(x - statistics["psi"])).sum()
        - (statistics["strength"] * torch.cos(x[:, first] - x[:, second] - statistics["offset"])).sum()
    )
    potential.backward()
    torch.testing.assert_close(phase.potential_gradient(angle[:7], statistics), x.grad)


def test_wrapped_score_is_the_derivative_of_the_wrapped_density():
    x = torch.linspace(-3, 3, 31, dtype=torch.float64).requires_grad_(True)
    variance = torch.tensor(0.8, dtype=torch.float64)
    density = sum(torch.exp(-((x + 2 * math.pi * k) ** 2) / (2 * variance)) for k in range(-9, 10))
    density.log().sum().backward()
    torch.testing.assert_close(phase.wrapped_score(x.detach(), variance), x.grad, atol=1e-5, rtol=1e-4)


def test_aniso_frame_is_orthonormal_and_mixing_keeps_the_span(clouds):
    mixed = ALIGNERS.get("aniso")(refinement=False, mixing=True).fit(*clouds).parameters
    plain = ALIGNERS.get("aniso")(refinement=False).fit(*clouds).parameters
    basis = np.hstack([mixed["frame"], mixed["complement"]])
    np.testing.assert_allclose(basis.T @ basis, np.eye(24), atol=1e-10)
    np.testing.assert_allclose(mixed["frame"] @ mixed["frame"].T, plain["frame"] @ plain["frame"].T, atol=1e-10)
    assert mixed["frame"].shape[1] % 2 == 0 and not np.allclose(mixed["frame"], plain["frame"])


def test_aniso_matches_radii_spread_and_centroid(clouds):
    source, target = clouds
    aligner = ALIGNERS.get("aniso")(refinement=False, recentring=False).fit(source, target)
    p = {k: torch.from_numpy(v) for k, v in aligner.parameters.items()}
    _, radius, v = aligner.initial(torch.from_numpy(source), p)
    target_radius = phase.to_polar(torch.from_numpy(target) @ p["frame"])[0]
    for q in (0.1, 0.5, 0.9):
        torch.testing.assert_close(radius.quantile(q, dim=0), target_radius.quantile(q, dim=0), atol=0.01, rtol=0.02)
    torch.testing.assert_close(v.std(0), (torch.from_numpy(target) @ p["complement"]).std(0), atol=1e-3, rtol=1e-2)
    assert ALIGNERS.get("aniso")(refinement=False).fit(source, target).report.centroid_gap < 0.02


def test_aniso_bounds_hold_for_every_output(clouds, fitted):
    source, _ = clouds
    p = {k: torch.from_numpy(v) for k, v in fitted.parameters.items()}
    strength = fitted.parameters["strength"].item()
    assert 0 < strength < 1
    theta, radius, v = fitted.initial(torch.from_numpy(source), p)
    # a refinement network driven far beyond what training makes of it: the bound must hold all the same
    for scale in (1.0, 1e3):
        wild = {k: v * scale if k.startswith("g.") else v for k, v in p.items()}
        moved = correct(theta, radius, v, wild, fitted)
        start, end = phase.to_cartesian(radius, theta), phase.to_cartesian(moved[1], moved[0])
        assert ((end - start).norm(dim=1) <= fitted.bounds["kappa"] * start.norm(dim=1) + 1e-12).all()
        assert torch.equal(moved[2], v), "no loss says how to correct V"
    assert (end - start).norm(dim=1).max() > 0.5 * fitted.bounds["kappa"] * start.norm(dim=1).min(), (
        "the test reaches near the bound"
    )
    a_theta, growth = 0.3 * strength, math.exp(0.2 * strength)
    assert fitted.bounds["kappa"] == pytest.approx(
        math.sqrt((growth - 1) ** 2 + 4 * growth * math.sin(a_theta / 2) ** 2)
    )


def test_aniso_is_reproducible_and_leaves_the_global_generator_alone(clouds, fitted):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    again = ALIGNERS.get("aniso")(**SMALL).fit(*clouds, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, value in fitted.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], value)
    other = ALIGNERS.get("aniso")(**SMALL).fit(*clouds, seed=2)
    assert not np.array_equal(other.parameters["g.0.weight"], fitted.parameters["g.0.weight"])


SWITCHES = [name for name, value in AnisoAlign().get_params().items() if isinstance(value, bool)]


@pytest.mark.parametrize("switch", SWITCHES)
def test_aniso_components_switch_off_and_on(clouds, fitted, switch):
    other = ALIGNERS.get("aniso")(**SMALL, **{switch: not getattr(fitted, switch)}).fit(*clouds, seed=1)
    x = torch.from_numpy(clouds[0][:100])
    assert torch.isfinite(other(x)).all() and not torch.equal(other(x), fitted(x))
    with pytest.raises(RevisionError, match=f"{switch} must be true or false"):
        ALIGNERS.get("aniso")(**{switch: "no"}).fit(*clouds)


def test_stage_one_learns_the_targets_score():
    """On phases that crowd around known means the trained prior scores far better than an untrained one."""
    o = AnisoAlign(steps=200, hidden=64, batch=256, tau=0.0)
    generator = torch.Generator().manual_seed(3)
    angle = phase.wrap(torch.tensor([0.5, -1.0, 2.0, 3.0]) + 0.2 * torch.randn(2000, 4, generator=generator))
    radius = torch.ones(2000, 4)
    statistics = phase.phase_statistics(radius, angle, 2)
    torch.manual_seed(0)
    net = train_prior(angle, radius.log(), statistics, o)
    blank = zero_start(new_network([13, 64, 4]))
    losses = []
    for candidate in (net, blank):
        torch.manual_seed(1)
        losses.append(score_loss(candidate, angle, radius.log(), statistics, o).item())
    assert losses[0] < 0.7 * losses[1]
