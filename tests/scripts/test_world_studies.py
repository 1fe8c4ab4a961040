"""The studies that make their own corpora of the embedded world, through their scripts."""

import json

import numpy as np
import pytest
from conftest import ENVIRONMENT, FORKS, ROOT


def test_the_first_tokens_study_refuses_in_one_line(tmp_path):
    for flag, value, message in (
        ("--steps", "1", "a whole number of at least 2 is needed, not 1"),
        ("--seeds", "-1", "a whole number of at least 0 is needed, not -1"),
        ("--batch", "many", "a whole number of at least 1 is needed, not many"),
    ):
        words = ["-m", "scripts.studies.first_token", "--out", tmp_path / "out", flag, value]
        done = FORKS.run(words, environment=ENVIRONMENT, cwd=ROOT)
        assert done.returncode == 2 and message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "out").exists()


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
    assert "<table" in (out / "monge_limits.html").read_text()
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
