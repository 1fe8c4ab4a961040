"""`revision geometry` on stores, as a user runs it."""

import csv
import json
import re

import numpy as np
import pytest
from conftest import ROOT, unit_rows, write_store

from revision_plugin.aligners import ALIGNERS
from revision_plugin.cli import main
from revision_plugin.encoders import Identity

DIM, COUNT = 12, 300

TEST_ENCODER = Identity("test", "0" * 64)


@pytest.fixture
def gap(rng):
    texts = unit_rows(rng, COUNT, DIM)
    images = texts + 0.4 * unit_rows(rng, COUNT, DIM, 1.0)
    return texts, images / np.linalg.norm(images, axis=1, keepdims=True)


@pytest.fixture
def stores(tmp_path, gap, rng):
    texts, images = gap
    order = rng.permutation(COUNT)
    write_store(tmp_path / "texts", texts)
    write_store(tmp_path / "images", images[order], modality="image", ids=[f"row-{i}" for i in order], chunk=70)
    return tmp_path


def run(*arguments, expect=None):
    if expect is None:
        return main([str(a) for a in arguments])
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    assert stopped.value.code == expect


def geometry(root, *flags, expect=None, source="texts", target="images"):
    run(
        "geometry",
        "--source",
        root / source,
        "--target",
        root / target,
        "--out",
        root / "report",
        *flags,
        expect=expect,
    )
    return json.loads((root / "report" / "metrics.json").read_text()) if expect is None else None


def test_a_report_with_pairs_and_aligners(stores, gap, capsys):
    texts, images = (np.asarray(rows, np.float32).astype(float) for rows in gap)
    for method in ("realign", "c3"):
        aligner = ALIGNERS.get(method)().fit(texts, images, encoder=TEST_ENCODER, held_out=0)
        aligner.save(stores / method)
    result = geometry(stores, "--pairs", "--aligner", stores / "realign", stores / "c3")
    assert "source: centroid gap" in capsys.readouterr().out
    metrics = result["metrics"]
    assert result["methods"] == {"source": "none", "realign": "realign", "c3": "c3"} and not result["skipped"]
    difference = images - texts
    assert metrics["source"]["centroid_gap"] == pytest.approx(np.linalg.norm(difference.mean(0)), abs=1e-6)
    assert metrics["source"]["paired_cosine"] == pytest.approx((texts * images).sum(1).mean(), abs=1e-6)
    parts = sum(metrics["source"][name] for name in ("PMB", "COB", "residual_U", "residual_V"))
    assert parts == pytest.approx(np.square(difference).sum(1).mean(), abs=1e-6)
    assert metrics["realign"]["centroid_gap"] < metrics["source"]["centroid_gap"] / 20
    assert metrics["c3"]["effective_rank"] > metrics["realign"]["effective_rank"], "as in training, with its noise"
    assert "source_cosine" not in metrics["source"] and 0.5 < metrics["realign"]["source_cosine"] < 1
    report = (stores / "report" / "report.md").read_text()
    for name in ("pca", "gap", "sweep", "spectra", "cosines", "subspace_overlap", "residual_energy", "decomposition"):
        assert f"({name}.png)" in report
        assert (stores / "report" / f"{name}.png").stat().st_size > 5000 and (
            stores / "report" / f"{name}.svg"
        ).exists()
    with open(stores / "report" / "metrics.csv", newline="") as file:
        table = {(row["cloud"], row["metric"]): float(row["value"]) for row in csv.DictReader(file) if row["value"]}
    assert table["realign", "trace"] == metrics["realign"]["trace"]


def test_the_docs_command(stores, gap, monkeypatch):
    (block,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "geometry.md").read_text(), re.S)
    for method in ("mean_shift", "c3", "realign"):
        ALIGNERS.get(method)().fit(*gap, encoder=TEST_ENCODER, held_out=0).save(stores / method)
    monkeypatch.chdir(stores)
    words = block.split()
    assert words[0] == "revision"
    run(*words[1:])
    assert (stores / "report" / "report.md").exists()


def test_the_same_seed_gives_the_same_numbers(stores, gap):
    ALIGNERS.get("c3")().fit(*gap, encoder=TEST_ENCODER, held_out=0).save(stores / "c3")
    first = geometry(stores, "--aligner", stores / "c3", "--rows", 100, "--seed", 3)
    (stores / "report").rename(stores / "before")
    assert geometry(stores, "--aligner", stores / "c3", "--rows", 100, "--seed", 3) == first
    assert "PMB" not in first["metrics"]["source"], "paired metrics need --pairs"


def test_what_cannot_be_measured_is_marked(tmp_path, rng, capsys):
    write_store(tmp_path / "texts", unit_rows(rng, 8, DIM))
    write_store(tmp_path / "images", unit_rows(rng, 9, DIM, 1.0), modality="image")
    result = geometry(tmp_path)
    assert "rank 8 of 12" in result["skipped"]["target"]["condition_number"]
    assert result["skipped"]["source"]["mixing_rate"] == "20 neighbours need at least 21 rows, there are 17"
    assert result["metrics"]["source"]["centroid_gap"] > 0
    report = (tmp_path / "report" / "report.md").read_text()
    assert "## Not measured" in report and "not measured |" in report


def test_constant_embeddings(tmp_path, rng):
    write_store(tmp_path / "texts", np.tile(unit_rows(rng, 1, DIM), (30, 1)))
    write_store(tmp_path / "images", unit_rows(rng, 40, DIM, 1.0), modality="image")
    result = geometry(tmp_path)
    assert result["skipped"]["source"]["effective_rank"] == "the embeddings are constant"
    assert "centroid_gap" in result["metrics"]["source"]


def test_bad_input_ends_in_one_line(stores, rng, gap, capsys):
    def line(*flags, **names):
        geometry(stores, *flags, expect=2, **names)
        assert not (stores / "report").exists()
        (only,) = [row for row in capsys.readouterr().err.splitlines() if row.startswith("error:")]
        return only

    write_store(
        stores / "strangers", unit_rows(rng, 50, DIM), modality="image", ids=[f"row-{i}" for i in range(270, 320)]
    )
    assert "270 of 300 ids are not in" in line("--pairs", target="strangers")
    other = {"spec": "other", "fingerprint": "1" * 64}
    write_store(stores / "other", unit_rows(rng, 50, DIM), modality="image", encoder=other)
    assert "come from different encoders" in line(target="other")
    write_store(stores / "narrow", unit_rows(rng, 50, DIM - 1), modality="image")
    assert "differ in dimension" in line(target="narrow")
    fitted = ALIGNERS.get("realign")().fit(*gap, encoder=Identity(**other), held_out=0)
    fitted.save(stores / "foreign")
    assert "fitted for another encoder ('other' and 'test')" in line("--aligner", stores / "foreign")
    assert "no aligner.json" in line("--aligner", stores / "texts")
    assert "at least 2 is needed" in line("--rows", 1)
    assert "a number above 0 and up to 1 is needed, not 1.5" in line("--energy", 1.5)
    (stores / "more").mkdir()
    fitted.save(stores / "more" / "foreign")
    assert "called 'foreign' too" in line("--aligner", stores / "foreign", stores / "more" / "foreign")
