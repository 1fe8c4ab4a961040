"""The study of choosing without pairs, through its script: figures follow from the record, the page has its tables."""

import json

import numpy as np
import pytest
from conftest import ENVIRONMENT, FORKS, ROOT
from scipy.stats import spearmanr

from scripts.studies.choosing import agreement


def test_agreement_by_hand():
    cells = [
        {"cosine": {"realign": 0.90, "monge": 0.95, "none": 0.5}, "score": {"realign": 2, "monge": 3, "none": 1}},
        {"cosine": {"realign": 0.95, "monge": 0.91, "none": 0.5}, "score": {"realign": 2, "monge": 3, "none": 1}},
        {
            "cosine": {"realign": 0.9000, "monge": 0.9008, "none": 0.5},
            "score": dict.fromkeys(("realign", "monge", "none"), 1),
        },
    ]
    found = agreement(cells, lambda cell: cell["score"])
    assert found["spearman"] == pytest.approx((1 + 0.5) / 2), "equal scores rank nothing"
    assert found["near"] == pytest.approx(2 / 3), "ReAlign wins the tie and is near enough"
    assert found["regret"] == pytest.approx((0 + 0.04 + 0.0008) / 3) and found["largest"] == pytest.approx(0.04)


def test_the_study(tmp_path):
    out = tmp_path / "out"
    few = ["--encoders", "40", "--seeds", "1", "--rows", "0.3", "0.6", "--pairs", "40"]
    done = FORKS.run(["-m", "scripts.studies.choosing", "--out", out, *few], environment=ENVIRONMENT, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == (out / "choosing.md").read_text()
    cells = json.loads((out / "choosing.json").read_text())["cells"]
    assert [(c["images"], c["rows_per_dimension"]) for c in cells] == [
        ("matched", 0.3),
        ("matched", 0.6),
        ("upper half", 0.3),
        ("upper half", 0.6),
        ("half the objects", 0.3),
    ]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    shown = {line[0]: line[1:] for line in lines if len(line) == 7}
    correlations, regrets = [], []
    for cell in cells[:2]:
        names = list(cell["cosine"])
        distances = [-cell["choice"]["candidates"][name]["frechet_distance"] for name in names]
        cosines = [cell["cosine"][name] for name in names]
        correlations.append(spearmanr(distances, cosines).statistic)
        regrets.append(max(cosines) - cosines[int(np.argmax(distances))])
        assert cell["cosine"]["none"] < cell["cosine"]["realign"] - 0.1
        assert cell["cosine_of_matched"]["realign"] != cell["cosine"]["realign"], "fitted on other rows"
    expected = [f"{np.mean(correlations):+.2f}", f"{np.mean(np.array(regrets) <= 0.001):.0%}"]
    assert shown["frechet distance"][:2] == expected
    assert shown["frechet distance"][2] == f"{np.mean(regrets):.4f} ({max(regrets):.4f})"
    page = (ROOT / "docs" / "choosing.md").read_text()
    heads = [line for line in done.stdout.splitlines() if line.startswith(("| quantity", "| logit scale"))]
    assert len(heads) == 3 and all(head in page for head in heads), "write the page's tables again"
    assert all(f"| {name} |" in page for name in shown), "a quantity is not on the page"
    again = FORKS.run(["-m", "scripts.studies.choosing", "--out", out, *few], environment=ENVIRONMENT, cwd=ROOT)
    assert again.returncode == 2 and "already exists" in again.stderr
