import numpy as np
import pytest
from conftest import refuse, run, unit_rows, write_store

from revision_plugin.aligners import ALIGNERS, load_aligner
from revision_plugin.aligners.domain import domain_shift
from revision_plugin.embeddings.rows import as_rows
from revision_plugin.errors import RevisionError


def cloud(rng, count, direction, dim=16):
    rows = 0.5 * rng.normal(size=(count, dim)) / dim**0.5 + direction
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_figures_of_the_shift(rng):
    """Against the definition, and about one standard error for another sample of the same corpus."""
    source_mean, other, target = (np.eye(16)[i] for i in range(3))
    source, images = cloud(rng, 4000, source_mean), cloud(rng, 3000, target)
    aligner = ALIGNERS.get("realign")().fit(source, images)
    new = cloud(rng, 2000, source_mean + 0.5 * other)
    shift = domain_shift(aligner, as_rows(new))
    distance = np.linalg.norm(new.mean(0) - source.mean(0))
    variance = [((x - x.mean(0)) ** 2).sum(1).mean() / len(x) for x in (new, source)]
    assert shift.distance == pytest.approx(distance, abs=1e-12)
    assert shift.standard_errors == pytest.approx(distance / np.sqrt(sum(variance)), rel=1e-9)
    assert shift.share_of_gap == pytest.approx(distance / np.linalg.norm(source.mean(0) - images.mean(0)), rel=1e-9)
    assert shift.is_far
    same = domain_shift(aligner, as_rows(cloud(rng, 2000, source_mean)))
    assert same.standard_errors < 2 and not same.is_far


def test_a_slight_shift_of_a_huge_corpus_and_a_noisy_tiny_one_are_not_far(rng):
    source_mean, other, target = (np.eye(16)[i] for i in range(3))
    aligner = ALIGNERS.get("realign")().fit(cloud(rng, 40000, source_mean), cloud(rng, 3000, target))
    slight = domain_shift(aligner, as_rows(cloud(rng, 40000, source_mean + 0.05 * other)))
    assert slight.standard_errors > 5 and slight.share_of_gap < 0.1 and not slight.is_far
    tiny = domain_shift(aligner, as_rows(cloud(rng, 5, source_mean)))
    assert tiny.share_of_gap > 0.1 and tiny.standard_errors < 5 and not tiny.is_far


def test_apply_warns_of_another_domain_and_refitting_mends_it(rng, tmp_path, capsys):
    source_mean, other, target = (np.eye(16)[i] for i in range(3))
    write_store(tmp_path / "texts", cloud(rng, 3000, source_mean))
    write_store(tmp_path / "medical", cloud(rng, 3000, source_mean + other))
    write_store(tmp_path / "images", cloud(rng, 3000, target), modality="image")
    run(
        "fit",
        "--source",
        tmp_path / "texts",
        "--target",
        tmp_path / "images",
        "--out",
        tmp_path / "a",
        "--option",
        "centroid_rounds=2",
    )
    run("apply", "--aligner", tmp_path / "a", "--source", tmp_path / "texts", "--out", tmp_path / "fine")
    assert "warning" not in capsys.readouterr().err
    run("apply", "--aligner", tmp_path / "a", "--source", tmp_path / "medical", "--out", tmp_path / "off")
    (warning,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: "))
    assert (
        f"--refit-source {tmp_path / 'a'} --source {tmp_path / 'medical'}" in warning and "standard errors" in warning
    )
    run("fit", "--refit-source", tmp_path / "a", "--source", tmp_path / "medical", "--out", tmp_path / "b")
    assert "held out" in capsys.readouterr().out
    refitted, original = load_aligner(tmp_path / "b"), load_aligner(tmp_path / "a")
    assert refitted.get_params() == original.get_params() == {"centroid_rounds": 2}
    run(
        "fit",
        "--source",
        tmp_path / "medical",
        "--target",
        tmp_path / "images",
        "--out",
        tmp_path / "c",
        "--option",
        "centroid_rounds=2",
    )
    for name, value in load_aligner(tmp_path / "c").parameters.items():
        np.testing.assert_allclose(refitted.parameters[name], value, atol=1e-12)
    capsys.readouterr()
    run("apply", "--aligner", tmp_path / "b", "--source", tmp_path / "medical", "--out", tmp_path / "on")
    assert "warning" not in capsys.readouterr().err


def test_refitting_needs_a_closed_form_method_and_its_encoder(rng, tmp_path, capsys):
    rows = unit_rows(rng, 60, 8)
    write_store(tmp_path / "t", rows)
    write_store(tmp_path / "foreign", rows, encoder={"spec": "clip", "fingerprint": "1" * 64})
    write_store(tmp_path / "i", unit_rows(rng, 60, 8, shift=0.5), modality="image")
    with pytest.raises(RevisionError, match="'bc' needs the target's rows"):
        ALIGNERS.get("bc")().fit(rows, unit_rows(rng, 50, 8)).refit_source(rows)
    run("fit", "--source", tmp_path / "t", "--target", tmp_path / "i", "--out", tmp_path / "a")
    common = ("fit", "--refit-source", tmp_path / "a", "--out", tmp_path / "b")
    assert "another encoder ('test' and 'clip')" in refuse(capsys, *common, "--source", tmp_path / "foreign")
    assert "leave out yours" in refuse(capsys, *common, "--source", tmp_path / "t", "--method", "realign")
    assert not (tmp_path / "b").exists()
