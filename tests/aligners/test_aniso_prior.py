"""AnisoAlign's prior and what stage II makes of it, the rank of its frame, and aligners that 0.1.0 saved."""

import json
import math

import numpy as np
import pytest
import torch
from conftest import ROOT, unit_rows

from revision_plugin.aligners import AnisoAlign, load_aligner
from revision_plugin.aligners.aniso import phase
from revision_plugin.aligners.aniso.frame import fit_frame
from revision_plugin.aligners.aniso.score import held_out_rows, learnt_share, row_losses
from revision_plugin.cli import main
from revision_plugin.embeddings.moments import stream_moments
from revision_plugin.embeddings.rows import as_rows

SMALL = dict(steps=60, batch=128, hidden=32)
OLD = ROOT / "tests" / "golden" / "aniso-0.1.0"
DIM = 12


@pytest.fixture(scope="module")
def source():
    return unit_rows(np.random.default_rng(1), 1500, DIM, shift=0.3)


@pytest.fixture(scope="module")
def crowded(source):
    """Images that crowd around five points, so that the phases of all blocks hang together."""
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(5, DIM))
    rows = centres[rng.integers(5, size=1500)] + 0.1 * rng.normal(size=(1500, DIM))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def shapeless():
    """Images in all directions alike: phases are uniform and independent in any frame."""
    return unit_rows(np.random.default_rng(3), 1500, DIM)


def test_the_prior_of_a_target_with_structure_beats_the_zero_score(source, crowded):
    aligner = AnisoAlign(**SMALL).fit(source, crowded, held_out=0)
    prior = aligner.report.details["prior"]
    assert prior["held_out_loss"] < 0.9 * prior["zero_score"]
    assert 0.05 < prior["strength"] < 1 - prior["held_out_loss"] / prior["zero_score"]
    initial = AnisoAlign(**SMALL, refinement=False).fit(source, crowded, held_out=0)
    moved = np.abs(aligner.transform(source) - initial.transform(source)).max()
    assert 1e-4 < moved


def test_stage_two_does_nothing_where_the_prior_learnt_nothing(source, shapeless):
    aligner = AnisoAlign(**SMALL).fit(source, shapeless, held_out=0)
    prior = aligner.report.details["prior"]
    assert prior["strength"] == 0 and prior["held_out_loss"] == pytest.approx(prior["zero_score"], rel=0.05)
    initial = AnisoAlign(**SMALL, refinement=False).fit(source, shapeless, held_out=0)
    np.testing.assert_allclose(aligner.transform(source), initial.transform(source), atol=1e-6)
    assert aligner.bounds["kappa"] == 0
    whole = AnisoAlign(**SMALL, prior_scaling=False).fit(source, shapeless, held_out=0)
    assert np.abs(whole.transform(source) - initial.transform(source)).max() > 1e-2, "the paper's follows noise"


def test_the_learnt_share_by_hand():
    """Gains 1, 2, 3 of zero losses 10: mean 2, standard error 1 / sqrt 3, so (2 - 2 / sqrt 3) / 10."""
    zero = torch.full((3,), 10.0, dtype=torch.float64)
    gains = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert learnt_share(torch.stack([zero - gains, zero], 1)) == pytest.approx((2 - 2 / math.sqrt(3)) / 10)
    assert learnt_share(torch.stack([zero + gains, zero], 1)) == 0
    assert learnt_share(torch.stack([zero - gains, zero], 1)[:1]) == 0, "one row shows nothing"


def test_the_zero_scores_loss_is_the_expected_square_of_the_score():
    """Where noise is small against the circle, variance * (step / variance)^2 has mean one a block."""
    o, blocks = AnisoAlign(sigma_min=0.1, sigma_max=0.2), 3
    theta = torch.zeros(20000, blocks, dtype=torch.float64)
    statistics = phase.phase_statistics(torch.ones_like(theta), theta, 1)
    torch.manual_seed(0)
    losses = row_losses([lambda state: state.new_zeros(len(state), blocks)], theta, theta, statistics, o)
    assert losses.mean().item() == pytest.approx(blocks, rel=0.02)


def test_rows_that_judge_the_prior_are_not_those_it_is_trained_on():
    assert held_out_rows(20).nonzero().flatten().tolist() == [9, 19]
    assert held_out_rows(3).tolist() == [False, True, False]


def test_the_rank_is_that_of_the_energy_rule_in_many_dimensions():
    """120 directions hold the little variance of rows near one mean; lambda = 1e-4, counted 1280 times, made it 912."""
    rng = np.random.default_rng(4)
    spread = np.where(np.arange(1280) < 120, 1.0, 1e-3) * np.linspace(1, 0.5, 1280)
    corpora = [rng.normal(size=(300, 1280)) * spread + 0.8 for _ in range(2)]
    corpora = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in corpora]
    centred = np.concatenate([(rows - rows.mean(0)) / math.sqrt(len(rows)) for rows in corpora])
    energy = np.cumsum(np.linalg.svd(centred, compute_uv=False) ** 2)
    expected = int((energy < 0.9 * energy[-1]).sum()) + 1
    moments = [stream_moments(as_rows(rows), covariance=True) for rows in corpora]
    frame = fit_frame(*moments, 0, AnisoAlign())["frame"]
    assert frame.shape[1] == expected + expected % 2 < 120


def test_fit_prints_and_inspect_shows_the_priors_losses(source, crowded, tmp_path, capsys):
    aligner = AnisoAlign(**SMALL).fit(source, crowded, held_out=0)
    aligner.save(tmp_path / "a")
    prior = aligner.report.details["prior"]
    assert json.loads((tmp_path / "a" / "aligner.json").read_text())["prior"] == prior
    line = aligner.summary()
    assert f"the prior's loss {prior['held_out_loss']:.4g} on held-out target rows" in line and "\n" not in line
    assert f"(zero score {prior['zero_score']:.4g}), {prior['source_loss']:.4g} on the source" in line
    main(["inspect", str(tmp_path / "a"), "--json"])
    assert json.loads(capsys.readouterr().out)["prior"] == prior
    assert load_aligner(tmp_path / "a").summary() == line


def test_an_aligner_that_0_1_0_saved_opens_and_maps_as_it_did():
    """With an option that is gone (`ridge`, `a_v`), a head for V and no strength; mapped by 0.1.0 itself."""
    aligner, mapped = load_aligner(OLD), json.loads((OLD / "mapped.json").read_text())
    np.testing.assert_allclose(aligner.transform(np.array(mapped["rows"])), mapped["aligned"], atol=1e-12)
    assert aligner.mixing and not aligner.prior_scaling
    assert aligner.bounds["kappa"] == pytest.approx(aligner.report.details["bounds"]["kappa"])
    assert aligner.summary().startswith("aniso fitted on 400 source")
