"""`scripts/cost.py` and `scripts/eval.sh` with arguments they cannot use: one line, status 2."""

import subprocess

import pytest
from conftest import ENVIRONMENT, FORKS, ROOT


def cost(*words):
    return FORKS.run([ROOT / "scripts" / "cost.py", *words], environment=ENVIRONMENT)


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


@pytest.mark.parametrize("price", ["nan", "-1", "0", "much"])
def test_cost_wants_prices(price):
    done = cost("--generated", "x", "--tokenizer", "x", "--out", "x", "--price-in", price)
    assert done.returncode == 2 and f"invalid dollars value: '{price}'" in done.stderr


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
