"""The studies of alignment, through their script."""

import json

import numpy as np
import pytest
from conftest import ENVIRONMENT, FORKS, ROOT, unit_rows, write_store

DIM = 16


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two domains of texts and images, float64 differences large enough to tell apart."""
    root, rng = tmp_path_factory.mktemp("studies"), np.random.default_rng(4)
    for name, shift, gap in (("general", 0.4, 0.5), ("medical", -0.9, -0.5)):
        write_store(root / f"{name}-texts", unit_rows(rng, 1500, DIM, shift))
        write_store(root / f"{name}-images", unit_rows(rng, 1200, DIM, shift + gap), modality="image")
    return root


def study(name, stores, sources, targets, out, expect=0):
    command = [
        "-m",
        "scripts.studies",
        name,
        "--source",
        *(stores / s for s in sources),
        "--target",
        *(stores / t for t in targets),
        "--out",
        out,
    ]
    done = FORKS.run(command, environment=ENVIRONMENT, cwd=ROOT)
    assert done.returncode == expect, done.stderr[-2000:]
    if expect:
        return done.stderr.strip().splitlines()[-1]
    file = out / f"{name.replace('-', '_')}.json"
    record = json.loads(file.read_text())
    assert json.loads(done.stdout) == record
    assert file.with_suffix(".png").stat().st_size > 5000 and file.with_suffix(".svg").exists()
    return record


ONE = (["general-texts"], ["general-images"])


def test_more_samples_close_the_held_out_gap(stores, tmp_path):
    record = study("sample-sizes", stores, *ONE, tmp_path / "out")
    gaps = {point["rows"]: point["gap_mean"] for point in record["curve"]}
    assert list(gaps) == [100, 300, 960] and gaps[960] < gaps[100]
    assert gaps[960] < 3 * record["floor"] and len(record["curve"][0]["gaps"]) == 5


def test_float32_accumulators_leave_a_floor(stores, tmp_path):
    record = study("precision", stores, *ONE, tmp_path / "out")
    single, double = (record[name]["gap_by_round"][-1] for name in ("float32", "float64"))
    assert double < 1e-8 < single < 1e-4
    assert record["float64"]["mean_error"] < 1e-14 < record["float32"]["mean_error"]


def test_statistics_of_the_wrong_domain_do_not_align(stores, tmp_path):
    pairs = (["general-texts", "medical-texts"], ["general-images", "medical-images"])
    record = study("domain-transfer", stores, *pairs, tmp_path / "out")
    gap = record["gap"]
    for domain, other in (("general-texts", "medical-texts"), ("medical-texts", "general-texts")):
        assert gap[domain][domain] < record["gap_before"][domain] / 2
        assert gap[other][domain] > 3 * gap[domain][domain]


def test_the_other_studies(stores, tmp_path):
    lengths = study(
        "caption-lengths", stores, ["general-texts", "medical-texts"], ["general-images"], tmp_path / "lengths"
    )
    assert lengths["medical-texts"]["gap_before"] > lengths["general-texts"]["gap_before"]
    assert 1 < lengths["target"]["effective_rank"] < DIM
    blockwise = study("blockwise-failure", stores, *ONE, tmp_path / "blockwise")
    overlaps = {name: values["neighbourhood_overlap_10"] for name, values in blockwise.items()}
    assert overlaps["realign"] == max(overlaps.values()) and overlaps["bc, ridge 0"] < overlaps["realign"]
    times = study("fit-times", stores, *ONE, tmp_path / "times")
    assert times["rows"] == [1000, 1200] and len(times["seconds"]["realign"]) == len(times["megabytes"]["realign"]) == 2


def test_bad_input(stores, tmp_path):
    out = tmp_path / "out"
    assert "takes one store in --target" in study(
        "precision", stores, ["general-texts"], ["general-images"] * 1 + ["medical-images"], out, 2
    )
    assert "two or more" in study("domain-transfer", stores, *ONE, out, 2)
    assert "no such embedding store" in study("precision", stores, ["none"], ["general-images"], out, 2)
    write_store(tmp_path / "few", unit_rows(np.random.default_rng(0), 60, DIM))
    assert "at least 125 rows" in study("sample-sizes", stores, [tmp_path / "few"], ["general-images"], out, 2)
    assert not out.exists()


def test_the_limits_of_the_monge_map(tmp_path):
    out = tmp_path / "out"
    words = [
        "-m",
        "scripts.studies.monge_limits",
        "--out",
        out,
        "--seeds",
        "2",
        "--rows",
        "0.3",
        "0.1",
        "--pairs",
        "40",
    ]
    done = FORKS.run(words, environment=ENVIRONMENT, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == (out / "monge_limits.md").read_text()
    settings = json.loads((out / "monge_limits.json").read_text())["settings"]
    measured = [(each["logit_scale"], each["images"], each["rows_per_dimension"]) for each in settings]
    assert measured == [
        ("16", "matched", 0.1),
        ("16", "matched", 0.3),
        ("16", "upper half", 0.1),
        ("8", "matched", 0.1),
        ("40", "matched", 0.1),
    ]
    for each in settings:
        first, other = (seed["cosine"] for seed in each["seeds"])
        gains = [cosine["monge"] - cosine["realign"] for cosine in (first, other)]
        half = 12.7062 * abs(gains[0] - gains[1]) / 2  # Student's t of one degree of freedom
        assert each["summary"]["gain"]["monge"] == pytest.approx([np.mean(gains), half], rel=1e-4)
        assert first["realign"] != other["realign"], "each seed has corpora of its own"
        rows = round(192 * each["rows_per_dimension"]) / 192
        assert each["summary"]["shrinkage"]["monge"] == pytest.approx(1 - rows / 10)
        assert f"| {each['summary']['realign'][0]:.4f} |" in done.stdout
    few = settings[0]["summary"]["gain"]
    assert few["ledoit-wolf"][0] < few["monge"][0] - 0.05, "19 rows a corpus: the estimate is far too small"
    page = (ROOT / "docs" / "monge.md").read_text()
    heads = [line for line in done.stdout.splitlines() if line.startswith("| logit scale")]
    assert len(heads) == 2 and all(head in page for head in heads), "write the page's tables again"
    again = FORKS.run(words, environment=ENVIRONMENT, cwd=ROOT)
    assert again.returncode == 2 and "already exists" in again.stderr


def test_the_ablation_of_anisoalign(tmp_path):
    out = tmp_path / "out"
    few = ["--encoders", "40", "--seeds", "2", "--rows", "200", "--pairs", "40", "--steps", "3"]
    words = ["-m", "scripts.studies.aniso_ablation", "--out", out, *few]
    done = FORKS.run(words, environment=ENVIRONMENT, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == (out / "aniso_ablation.md").read_text()
    records = json.loads((out / "aniso_ablation.json").read_text())["records"]
    assert [(each["logit_scale"], each["seed"]) for each in records] == [("40", 0), ("40", 1)]
    assert records[0]["aligners"]["none"] != records[1]["aligners"]["none"], "each seed has corpora of its own"
    for each in records:
        cosines = {name: values["cosine"] for name, values in each["aligners"].items()}
        assert cosines["none"] < cosines["mean_shift"] - 0.1
        assert each["variants"]["stage II with its prior"]["cosine"] == cosines["global initialisation alone"]
    assert len({each["cosine"] for each in records[0]["variants"].values()}) > 5, "a component is left out"
    shown = {line.split(" | ")[0]: line for line in done.stdout.splitlines()}
    for name, key, cell in (("quantile map of the radii", "cosine", 1), ("calibration", "gap", 2)):
        changes = [each["variants"][name][key] - each["aligners"]["aniso"][key] for each in records]
        half = 12.7062 * abs(changes[0] - changes[1]) / 2  # Student's t of one degree of freedom
        assert shown[f"| without {name}"].rstrip(" |").split(" | ")[cell] == f"{np.mean(changes):+.4f} ± {half:.4f}"
    page = (ROOT / "docs" / "aniso.md").read_text()
    assert all(first in page for first in shown if first.startswith("| with")), "write the page's tables again"
    again = FORKS.run(words, environment=ENVIRONMENT, cwd=ROOT)
    assert again.returncode == 2 and "already exists" in again.stderr
