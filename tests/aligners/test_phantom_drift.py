"""How far projection leaves the centroid from the images', in every place that says it; and maps without step 3."""

import json

import numpy as np
import pytest
import torch
from conftest import ROOT, run, unit_rows, write_store

from revision_plugin.aligners import ALIGNERS, Monge, ReAlign, load_aligner
from revision_plugin.cli.inspect import inspect_path
from revision_plugin.embeddings.maps import IsotropicMap
from revision_plugin.encoders import Identity
from revision_plugin.errors import RevisionError
from revision_plugin.export.aligner_card import aligner_card
from revision_plugin.testing import check_aligner

DIM = 12
RECENTRING = {
    "realign": {},
    "monge": {},
    "bc": {"ridge": 0.1},
    "aniso": {"refinement": False},
}
TEST_ENCODER = Identity("test", "0" * 64)


def n(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@pytest.fixture
def clouds(rng):
    turn = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    return unit_rows(rng, 900, DIM, shift=0.3), unit_rows(rng, 700, DIM, shift=-0.4) @ turn


def test_realigns_drift_is_that_of_equations_22_to_24(clouds):
    source, target = clouds
    mu_y, mu_x = source.mean(0), target.mean(0)
    scale = np.sqrt(np.square(target - mu_x).sum(1).mean() / np.square(source - mu_y).sum(1).mean())
    drift = np.linalg.norm(n(mu_x + scale * (source - mu_y)).mean(0) - mu_x)
    assert drift > 1e-3
    for rounds in (0, 1, 4):
        assert ReAlign(centroid_rounds=rounds).fit(source, target).report.phantom_drift == pytest.approx(
            drift, abs=1e-12
        )


@pytest.mark.parametrize("method", RECENTRING)
def test_without_the_last_step_the_drift_is_the_gap(clouds, method):
    """The map that stops before the step leaves the gap that the other one reports as its drift."""
    whole = ALIGNERS.get(method)(**RECENTRING[method]).fit(*clouds, held_out=0)
    shift = {"recentring": False} if method == "aniso" else {"centroid_rounds": 0}
    if method == "bc":
        shifts = {**whole.parameters, "recentre": np.zeros(DIM)}
        moved = whole.with_parameters(DIM, shifts).transform(clouds[0])
        gap = np.linalg.norm(moved.mean(0) - clouds[1].mean(0))
    else:
        stopped = ALIGNERS.get(method)(**RECENTRING[method], **shift).fit(*clouds, held_out=0)
        gap = stopped.report.centroid_gap
        assert stopped.report.phantom_drift == gap
    assert whole.report.phantom_drift == pytest.approx(gap, abs=1e-12)
    assert whole.report.centroid_gap < whole.report.phantom_drift / 3


@pytest.mark.parametrize("method", ["none", "mean_shift", "c3"])
def test_methods_without_that_step_report_none(clouds, method):
    report = ALIGNERS.get(method)().fit(*clouds).report
    assert report.phantom_drift is None and "phantom" not in str(report) and "phantom_drift" not in report.to_json()


def test_every_place_says_it(clouds, tmp_path, capsys):
    write_store(tmp_path / "t", clouds[0])
    write_store(tmp_path / "i", clouds[1], modality="image")
    run("fit", "--source", tmp_path / "t", "--target", tmp_path / "i", "--out", tmp_path / "a")
    aligner = load_aligner(tmp_path / "a")
    drift = aligner.report.phantom_drift
    assert f"phantom drift before step 3 {drift:.4g}" in capsys.readouterr().out
    assert json.loads((tmp_path / "a" / "aligner.json").read_text())["phantom_drift"] == drift
    assert inspect_path(tmp_path / "a")["phantom_drift"] == drift
    assert f"{drift:.4g} apart (phantom drift)" in aligner_card(aligner)
    run("inspect", tmp_path / "a")
    assert f"phantom_drift: {drift}" in capsys.readouterr().out


def test_files_of_old_load_without_it(tmp_path, clouds):
    old = load_aligner(ROOT / "tests" / "golden" / "aniso-0.1.0")
    assert old.report.phantom_drift is None
    assert inspect_path(ROOT / "tests" / "golden" / "aniso-0.1.0")["method"] == "aniso"
    ReAlign().fit(*clouds).save(tmp_path / "a")
    record = json.loads((tmp_path / "a" / "aligner.json").read_text())
    record.pop("record_hash")
    for value in ("far", True, -1, float("nan")):
        (tmp_path / "a" / "aligner.json").write_text(json.dumps({**record, "phantom_drift": value}))
        with pytest.raises(RevisionError, match="not the report of a fit|NaN"):
            load_aligner(tmp_path / "a")


@pytest.mark.parametrize("aligner", [ReAlign(centroid_rounds=0), Monge(centroid_rounds=0)], ids=repr)
def test_no_rounds_keep_the_contract(aligner):
    check_aligner(aligner)


@pytest.mark.parametrize("method", ["realign", "monge"])
def test_no_rounds_through_every_path(clouds, tmp_path, method):
    source, target = clouds
    write_store(tmp_path / "t", source)
    write_store(tmp_path / "i", target, modality="image")
    common = "--option", "centroid_rounds=0", "--method", method
    run("fit", "--source", tmp_path / "t", "--target", tmp_path / "i", *common, "--out", tmp_path / "a")
    aligner = load_aligner(tmp_path / "a")
    assert aligner.parameters["centroid_shifts"].shape == (0, DIM) and aligner.report.held_out.centroid_gap > 0
    x = source[:40].astype(np.float32)
    p = aligner.parameters
    linear = p["scale"] * np.eye(DIM) if method == "realign" else p["linear"]
    expected = n(p["target_mean"] + (n(x.astype(float)) - p["source_mean"]) @ linear.T)
    np.testing.assert_allclose(aligner.transform(x.astype(float)), expected, atol=1e-12)
    run("apply", "--aligner", tmp_path / "a", "--source", tmp_path / "t", "--out", tmp_path / "aligned")
    run("export", "--aligner", tmp_path / "a", "--out", tmp_path / "shared")
    assert torch.equal(load_aligner(tmp_path / "shared")(torch.from_numpy(x)), aligner(torch.from_numpy(x)))
    if method == "realign":
        assert isinstance(aligner.isotropic(), IsotropicMap) and aligner.isotropic().shifts.shape == (0, DIM)
        run("fit", "--refit-source", tmp_path / "a", "--source", tmp_path / "t", "--out", tmp_path / "b")
        assert load_aligner(tmp_path / "b").report.phantom_drift == pytest.approx(
            aligner.report.phantom_drift, abs=1e-12
        )
