"""The Monge map against its equations worked out with scipy and by hand, and its behaviour at its limits."""

import json
import logging

import numpy as np
import pytest
from conftest import unit_rows, write_store
from scipy.linalg import sqrtm
from sklearn.covariance import ledoit_wolf_shrinkage

from revision_plugin import Monge, ReAlign, RevisionError, load_aligner
from revision_plugin.aligners import ALIGNERS
from revision_plugin.aligners.covariances import ledoit_wolf
from revision_plugin.aligners.monge import monge_map
from revision_plugin.cli import main
from revision_plugin.embeddings import moments
from revision_plugin.embeddings.moments import stream_moments
from revision_plugin.embeddings.rows import RandomRows, as_rows
from revision_plugin.testing import check_aligner

DIM = 12


@pytest.fixture
def clouds(rng):
    """Unit-norm rows [900, 12] and [700, 12] whose covariances have other axes."""
    turn = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    return unit_rows(rng, 900, DIM, shift=0.3), unit_rows(rng, 700, DIM, shift=-0.4) @ turn


def normalized(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def covariance(rows):
    return np.cov(rows.T, bias=True)


def transport(source, target):
    """The map's equation, with scipy's matrix square root."""
    root = sqrtm(source)
    inverse = np.linalg.inv(root)
    return (inverse @ sqrtm(root @ target @ root) @ inverse).real


def shrunk(matrix, coefficient):
    return (1 - coefficient) * matrix + coefficient * np.trace(matrix) / len(matrix) * np.eye(len(matrix))


def reference(source, target, x, coefficient, blend=1.0, rounds=1):
    """The whole aligner, straight from its symbols."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    scale = np.sqrt(np.trace(covariance(target)) / np.trace(covariance(source)))
    linear = transport(shrunk(covariance(source), coefficient), shrunk(covariance(target), coefficient))
    linear = blend * linear + (1 - blend) * scale * np.eye(len(linear))
    corpus, e = (normalized(target_mean + (rows - source_mean) @ linear.T) for rows in (source, x))
    for _ in range(rounds):
        drift = corpus.mean(0) - target_mean
        corpus, e = normalized(corpus - drift), normalized(e - drift)
    return e


def test_the_map_by_hand():
    np.testing.assert_allclose(
        monge_map(np.diag([4.0, 1.0]), np.diag([1.0, 9.0]), 1.0), np.diag([0.5, 3.0]), atol=1e-14
    )
    root = np.sqrt(3)  # the eigenvalues of [[2, 1], [1, 2]] are 3 on the diagonal and 1 across it
    expected = np.array([[root + 1, root - 1], [root - 1, root + 1]]) / 2
    np.testing.assert_allclose(monge_map(np.eye(2), np.array([[2.0, 1.0], [1.0, 2.0]]), 1.0), expected, atol=1e-14)


@pytest.mark.parametrize(
    "options",
    [{}, {"blend": 0.3}, {"shrinkage": 0.2, "centroid_rounds": 3}, {"shrinkage": 0}, {"shrinkage": 1}],
    ids=str,
)
def test_the_aligner_matches_the_equations(clouds, options):
    source, target = clouds
    estimated = max(ledoit_wolf_shrinkage(source), ledoit_wolf_shrinkage(target))
    coefficient, rounds = options.get("shrinkage", estimated), options.get("centroid_rounds", 1)
    expected = reference(source, target, source[:50], coefficient, options.get("blend", 1.0), rounds)
    aligner = Monge(**options).fit(source, target)
    np.testing.assert_allclose(aligner.transform(source[:50]), expected, atol=1e-10)
    assert aligner.report.details["shrinkage_used"] == pytest.approx(coefficient, abs=1e-13)
    assert aligner.report.details["rows_per_dimension"] == {"source": 75, "target": pytest.approx(700 / 12)}


@pytest.mark.parametrize("rows, dim", [(3, 50), (40, 24), (3000, 24)])
def test_the_estimated_shrinkage_is_scikit_learns(rng, rows, dim):
    x = unit_rows(rng, rows, dim, shift=0.6)
    streamed = stream_moments(as_rows(3 * x), covariance=True)
    assert ledoit_wolf(streamed) == pytest.approx(ledoit_wolf_shrinkage(x), abs=1e-12)
    assert 0 < ledoit_wolf(streamed) < 1


def test_rows_without_a_direction_of_their_own_need_no_shrinkage():
    """Every covariance that is a multiple of the identity is its own shrunk form, as scikit-learn has it."""
    rows = np.concatenate([np.eye(4), -np.eye(4)])
    assert ledoit_wolf(stream_moments(as_rows(rows), covariance=True)) == ledoit_wolf_shrinkage(rows) == 0


def test_it_gives_the_source_the_targets_covariance_and_moves_it_least(clouds):
    source, target = clouds
    linear = Monge(shrinkage=0).fit(source, target).parameters["linear"]
    np.testing.assert_allclose(linear @ covariance(source) @ linear.T, covariance(target), atol=1e-13)
    np.testing.assert_array_equal(linear, linear.T)
    assert np.linalg.eigvalsh(linear).min() > 0
    whitened = (sqrtm(covariance(target)) @ np.linalg.inv(sqrtm(covariance(source)))).real
    np.testing.assert_allclose(whitened @ covariance(source) @ whitened.T, covariance(target), atol=1e-13)
    centred = source - source.mean(0)
    cost, other = (np.square(centred @ m.T - centred).sum(1).mean() for m in (linear, whitened))
    assert cost < other - 0.01


@pytest.mark.parametrize(
    "options", [{}, {"shrinkage": 0}, {"shrinkage": 0.3}, {"energy": 0.5}, {"blend": 0.4}], ids=str
)
def test_proportional_covariances_give_realigns_scale(rng, options):
    """The same directions at another height of the sphere; with no shrinkage one direction is left without variance."""
    around = unit_rows(rng, 400, DIM - 1)
    source, target = (np.c_[radius * around, np.full(400, np.sqrt(1 - radius**2))] for radius in (0.8, 0.4))
    aligner = Monge(**options).fit(source, target)
    np.testing.assert_allclose(aligner.parameters["linear"], 0.5 * np.eye(DIM), atol=1e-10)
    np.testing.assert_allclose(aligner.transform(source), ReAlign().fit(source, target).transform(source), atol=1e-10)


def test_it_turns_with_the_space(clouds, rng):
    source, target = clouds
    turn = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    for options in ({}, {"shrinkage": 0}, {"energy": 0.7}):
        plain = Monge(**options).fit(source, target).transform(source)
        turned = Monge(**options).fit(source @ turn, target @ turn).transform(source @ turn)
        np.testing.assert_allclose(turned, plain @ turn, atol=1e-10)


@pytest.mark.parametrize("rounds", [1, 3])
def test_blend_goes_from_realign_to_the_map(clouds, rounds):
    source, target = clouds
    realign = ReAlign(centroid_rounds=rounds).fit(source, target)
    none, half, whole = (Monge(blend=t, centroid_rounds=rounds).fit(source, target) for t in (0, 0.5, 1))
    np.testing.assert_allclose(none.transform(source), realign.transform(source), atol=1e-12)
    np.testing.assert_allclose(
        half.parameters["linear"], (none.parameters["linear"] + whole.parameters["linear"]) / 2, atol=1e-14
    )
    assert np.abs(whole.transform(source) - realign.transform(source)).max() > 0.05


def test_how_the_rows_stream_does_not_matter(clouds, monkeypatch):
    source, target = clouds
    one = Monge().fit(source, target)
    monkeypatch.setattr(moments, "SPAN_BYTES", 8 * DIM * 70)
    many = Monge().fit(source, target)
    for name, value in one.parameters.items():
        np.testing.assert_allclose(many.parameters[name], value, atol=1e-12, err_msg=name)


def test_covariances_of_a_sample_have_the_error_it_states(rng):
    """Means and traces stay those of all rows; variances differ by sampling error alone, and not by less."""
    spreads = np.exp(-np.arange(DIM) / 5)
    source, target = (rng.normal(size=(20000, DIM)) * spreads + 3 * np.eye(DIM)[k] for k in (0, 1))
    whole, sample = Monge(), Monge(covariance_rows=2000)
    whole.fit(source, target, held_out=0)
    sample.fit(source, target, held_out=0, seed=3)
    for name in ("source_mean", "target_mean"):
        np.testing.assert_allclose(sample.parameters[name], whole.parameters[name], atol=1e-14)
    assert sample.report.details["rows_per_dimension"] == {"source": 2000 / DIM, "target": 2000 / DIM}
    drawn = stream_moments(RandomRows(as_rows(source), 2000, 3), covariance=True)
    variances = (m.covariance.diagonal() for m in (drawn, stream_moments(as_rows(source), covariance=True)))
    ratio = next(variances) / next(variances) - 1
    assert 0.3 < np.sqrt(np.square(ratio).mean()) / np.sqrt(2 / 2000 * (1 - 2000 / 20000)) < 2
    difference = np.abs(sample.parameters["linear"] - whole.parameters["linear"]).max()
    assert 1e-4 < difference < 5 * np.sqrt(2 / 2000) * np.abs(whole.parameters["linear"]).max()
    again, other = (Monge(covariance_rows=2000).fit(source, target, held_out=0, seed=seed) for seed in (3, 4))
    assert again.identity == sample.identity != other.identity
    assert Monge(covariance_rows=20000).fit(source, target, held_out=0).parameters["linear"] == pytest.approx(
        whole.parameters["linear"], abs=1e-12
    )


def test_a_sample_of_few_rows_says_so(clouds, caplog):
    with caplog.at_level(logging.WARNING):
        Monge(covariance_rows=30).fit(*clouds, held_out=0)
    assert "30 source and 30 target rows are fewer than 5 for each of 12 dimensions" in caplog.text
    with pytest.raises(RevisionError, match="covariance_rows must be"):
        Monge(covariance_rows=1)


@pytest.mark.parametrize("method, passes", [("monge", 2), ("bc", 3), ("aniso", 2), ("realign", 0)])
def test_covariances_are_read_once_a_modality(clouds, monkeypatch, method, passes):
    """bc has one pass more, of its anchored rows; the report's second fit reads the rows held out alone, and for bc the
    anchored ones.
    """
    read, stream = [], stream_moments

    def counted(rows, **keywords):
        if keywords.get("covariance"):
            read.append(len(rows))
        return stream(rows, **keywords)

    for module in ("base", "fitting", "monge", "bc", "aniso.align"):
        monkeypatch.setattr(f"revision_plugin.aligners.{module}.stream_moments", counted)
    options = {"steps": 5, "hidden": 8} if method == "aniso" else {}
    ALIGNERS.get(method)(**options).fit(*clouds, held_out=0)
    assert len(read) == passes
    read.clear()
    ALIGNERS.get(method)(**options).fit(*clouds, held_out=0.1)
    held_out = {0: [], 2: [90, 70], 3: [90, 70, 810]}[passes]
    assert sorted(read) == sorted([700, 900] * (passes > 0) + [900] * (passes == 3) + held_out)


def test_energy_keeps_the_map_to_the_dominant_directions(clouds):
    source, target = clouds
    linear = Monge(shrinkage=0, energy=0.6).fit(source, target).parameters["linear"]
    texts, images = covariance(source), covariance(target)
    values, vectors = np.linalg.eigh(texts + images)
    rank = next(k for k in range(1, DIM) if values[-k:].sum() >= 0.6 * values.sum())
    assert 1 < rank < DIM - 1
    dominant, rest = vectors[:, -rank:], vectors[:, :-rank]
    block = transport(dominant.T @ texts @ dominant, dominant.T @ images @ dominant)
    scale = np.sqrt(np.trace(rest.T @ images @ rest) / np.trace(rest.T @ texts @ rest))
    np.testing.assert_allclose(linear, dominant @ block @ dominant.T + scale * rest @ rest.T, atol=1e-12)


def test_few_rows_shrink_harder_and_say_so_once(rng, caplog):
    source, target = unit_rows(rng, 24, DIM, shift=0.3), unit_rows(rng, 400, DIM, shift=-0.4)
    with caplog.at_level(logging.WARNING):
        aligner = Monge().fit(source, target)
    assert aligner.report.details["shrinkage_used"] == pytest.approx(1 - 2 / 10)
    assert max(map(ledoit_wolf_shrinkage, (source, target))) < 0.7, "what is estimated would be less"
    (line,) = caplog.messages
    assert "24 source and 400 target rows are fewer than 5 for each of 12 dimensions" in line
    assert "shrinkage 0.8 brings the map near ReAlign's: fit on 60 rows or more of both, or with realign" in line
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        given = Monge(shrinkage=0.01).fit(source, target)
        Monge().fit(unit_rows(rng, 60, DIM), target)
    assert given.report.details["shrinkage_used"] == 0.01
    assert ["shrinkage 0.01, as you give it, may do worse than ReAlign" in line for line in caplog.messages] == [True]


def test_with_few_rows_of_one_distribution_the_map_stays_near_the_identity(rng):
    """Both corpora are drawn from one cloud, so whatever differs between their covariances is chance."""
    source, target = (unit_rows(np.random.default_rng(seed), 24, 24, shift=0.3) for seed in (1, 2))
    estimate = max(map(ledoit_wolf_shrinkage, (source, target)))
    raised, bare = (Monge(shrinkage=a).fit(source, target).parameters["linear"] for a in (None, float(estimate)))
    error, of_the_estimate = (np.linalg.norm(linear - np.eye(24)) for linear in (raised, bare))
    assert error < of_the_estimate / 3


def test_a_source_that_does_not_vary_is_refused_as_realign_refuses_it(rng):
    constant, target = np.tile(np.eye(8)[0], (60, 1)), unit_rows(rng, 60, 8)
    messages = []
    for aligner in (Monge(), ReAlign()):
        with pytest.raises(RevisionError, match="the source does not vary") as refused:
            aligner.fit(constant, target)
        messages.append(str(refused.value))
    assert messages[0] == messages[1]
    np.testing.assert_allclose(Monge().fit(target, constant).transform(target), constant, atol=1e-6)


@pytest.mark.parametrize("energy", [1.0, 0.7])
def test_directions_the_source_never_took_keep_the_scale(rng, energy):
    """Fewer rows than dimensions and no shrinkage: a new row's own direction is scaled as ReAlign scales it."""
    source, target = np.c_[unit_rows(rng, 200, 6), np.zeros((200, 4))], unit_rows(rng, 200, 10, shift=0.4)
    aligner = Monge(shrinkage=0, energy=energy).fit(source, target)
    linear, scale = aligner.parameters["linear"], ReAlign().fit(source, target).parameters["scale"]
    assert np.isfinite(linear).all() and np.isfinite(aligner.transform(np.eye(10))).all()
    if energy == 1:
        np.testing.assert_allclose(linear[:, 6:], scale * np.eye(10)[:, 6:], atol=1e-12)
        np.testing.assert_allclose(
            linear[:6, :6], transport(covariance(source)[:6, :6], covariance(target)[:6, :6]), atol=1e-10
        )
    few = Monge(shrinkage=0, energy=energy).fit(source[:4], target[:30])
    assert np.isfinite(few.transform(target)).all()


def test_another_source_needs_the_targets_rows_again(clouds):
    with pytest.raises(RevisionError, match="'monge' needs the target's rows"):
        Monge().fit(*clouds).refit_source(clouds[0])


def test_options_are_checked_and_none_is_one_of_them():
    assert Monge(shrinkage=None).shrinkage is None and Monge(shrinkage=0).shrinkage == 0
    for wrong in ("None", 1.1, -0.1, float("nan"), True):
        message = r"shrinkage must be None \(null in JSON\) or a finite number of at least 0 and up to 1, not"
        with pytest.raises(RevisionError, match=message):
            Monge(shrinkage=wrong)
    for options in ({"energy": 0}, {"energy": 1.5}, {"blend": 2}, {"blend": None}, {"centroid_rounds": -1}):
        with pytest.raises(RevisionError, match=f"{next(iter(options))} must be"):
            Monge(**options)


@pytest.mark.parametrize("options", [{"shrinkage": 0.1}, {"energy": 0.8, "blend": 0.5}], ids=str)
def test_other_options_keep_the_contract_too(options):
    check_aligner(Monge(**options))


def test_the_command_line(clouds, tmp_path, capsys):
    source, target = clouds
    write_store(tmp_path / "t", source)
    write_store(tmp_path / "i", target, modality="image")
    words = ["fit", "--source", tmp_path / "t", "--target", tmp_path / "i", "--method", "monge"]
    for number, (value, used) in enumerate([("0.1", pytest.approx(0.1)), ("null", pytest.approx(0.0, abs=0.05))]):
        out = tmp_path / f"a{number}"
        main([str(word) for word in [*words, "--option", f"shrinkage={value}", "--out", out]])
        record = json.loads((out / "aligner.json").read_text())
        assert record["shrinkage_used"] == used and record["shrinkage_used"] > 0
        assert record["options"]["shrinkage"] == json.loads(value)
        assert record["rows_per_dimension"] == {"source": 75, "target": pytest.approx(700 / 12)}
        assert load_aligner(out).report.details["shrinkage_used"] == record["shrinkage_used"]
    with pytest.raises(SystemExit):
        main([str(word) for word in [*words, "--option", "shrinkage=2", "--out", tmp_path / "b"]])
    assert "aligner 'monge': shrinkage must be None (null in JSON) or a finite number" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    shown = capsys.readouterr().out
    assert "options of monge:" in shown and "shrinkage=None  of both covariances" in shown and "blend=1.0" in shown
