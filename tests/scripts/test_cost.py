"""`scripts/cost.py`, and what it and `scripts/eval.sh` say to arguments they cannot use: one line, status 2."""

import json
import subprocess

import pytest
from conftest import ENVIRONMENT, FORKS, ROOT

from scripts.cost import shares


def cost(*words):
    return FORKS.run([ROOT / "scripts" / "cost.py", *words], environment=ENVIRONMENT)


def test_both_denominators_of_the_papers_cost_column():
    """ReVision's table 2 prints shares of $476.05; the formula of appendix H.4 makes $438.55 of the pairs' tokens."""
    corpora = {  # tokens as printed: printed share, share by the formula's pairs
        "ReVision-1M": (11.64e6, 16.15e6, 0.37, 176.05 / 438.55),
        "ReVision-2M": (23.28e6, 32.30e6, 0.74, 352.10 / 438.55),
        "Unicorn": (17.50e6, 187.14e6, 3.98, 1893.275 / 438.55),
    }
    for name, (tokens_in, tokens_out, printed, by_formula) in corpora.items():
        record = shares(tokens_in, tokens_out)
        assert record["paired_dollars"] == pytest.approx(438.55, abs=1e-9)
        assert record["paired_dollars_printed"] == pytest.approx(476.05, abs=1e-9)
        assert round(record["relative_cost_printed"], 2) == printed, name
        assert record["relative_cost"] == pytest.approx(by_formula, rel=1e-9), name
    dearer = shares(1e6, 1e6, price_in=2, price_out=4)
    assert dearer["paired_dollars"] == pytest.approx(2 * 221.64 + 4 * 16.15)
    assert dearer["paired_dollars_printed"] == pytest.approx(2 * 251.64 + 4 * 16.15)
    other = shares(1e6, 1e6, paired_dollars=45.0)
    assert (other["relative_cost"], other["paired_dollars"]) == (0.25, 45.0)
    assert other["relative_cost_printed"] == pytest.approx(11.25 / 476.05)


def test_another_denominator_by_flag(tmp_path, tiny_llm):
    (tmp_path / "texts.txt").write_text("a dog\n")
    words = ["--generated", tmp_path / "texts.txt", "--tokenizer", tiny_llm, "--out", tmp_path / "cost.json"]
    done = cost(*words, "--paired-dollars", "476.05")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "cost.json").read_text())
    assert json.loads(done.stdout) == record and record["tokens_out"] > 0 == record["tokens_in"]
    assert record["dollars"] == pytest.approx(record["tokens_out"] * 10e-6)
    assert record["paired_dollars"] == 476.05
    assert record["relative_cost"] == pytest.approx(record["dollars"] / 476.05)
    assert record["relative_cost"] == pytest.approx(record["relative_cost_printed"])


def test_cost_refuses_in_one_line(tmp_path, tiny_llm):
    (tmp_path / "texts.txt").write_text("a dog\n")
    (tmp_path / "holes.json").write_text('["a dog", ""]')
    sound = {"--generated": tmp_path / "texts.txt", "--tokenizer": tiny_llm, "--out": tmp_path / "cost.json"}
    for flag, value, message in (
        ("--generated", tmp_path / "none.txt", "none.txt: no such file"),
        ("--generated", tmp_path / "holes.json", "record '1' has no caption"),
        ("--tokenizer", tmp_path / "nowhere", "no tokenizer there"),
    ):
        done = cost(*(word for pair in {**sound, flag: value}.items() for word in pair))
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
        assert "Traceback" not in done.stderr and not (tmp_path / "cost.json").exists()


@pytest.mark.parametrize(
    "flag, price",
    [("--price-in", "nan"), ("--price-in", "much"), ("--price-out", "-1"), ("--paired-dollars", "0")],
)
def test_cost_wants_prices(flag, price):
    done = cost("--generated", "x", "--tokenizer", "x", "--out", "x", flag, price)
    assert done.returncode == 2 and f"{flag}: invalid dollars value: '{price}'" in done.stderr


def test_eval_says_what_it_takes(tmp_path):
    for words in ([], ["checkpoint"]):
        done = subprocess.run(["bash", ROOT / "scripts" / "eval.sh", *words], capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.startswith("error: bash scripts/eval.sh CHECKPOINT OUT")
    (tmp_path / "revision").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    (tmp_path / "revision").chmod(0o755)
    for words, expected in (
        (["c", "o"], "evaluate|--model|c|--tasks|revision_bench|--out|o|"),
        (["c", "o", "mme", "--blind"], "evaluate|--model|c|--tasks|mme|--out|o|--blind|"),
        (["c", "o", "--blind"], "evaluate|--model|c|--tasks|revision_bench|--out|o|--blind|"),
    ):
        done = subprocess.run(
            ["bash", ROOT / "scripts" / "eval.sh", *words],
            capture_output=True,
            text=True,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        )
        assert done.stdout == expected, "a stand-in for the command prints what it was given"
