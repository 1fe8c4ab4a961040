import csv
import io
import json

import pytest
from conftest import ENVIRONMENT, FORKS, ROOT, refuse, run

from revision_plugin.evaluation import table
from scripts import cost


def write_results(folder, scores, *, effective_rows=None, stamp="20260101_000000"):
    """A result file as lmms-eval writes it; `scores` are fractions by benchmark."""
    folder.mkdir(parents=True, exist_ok=True)
    value = {
        "results": {
            f"revision_{name}": {"alias": name, "acc,none": score, "acc_stderr,none": 0.01}
            for name, score in scores.items()
        },
        "n-samples": {f"revision_{name}": {"original": 100, "effective": effective_rows or 100} for name in scores},
    }
    path = folder / f"{stamp}_results.json"
    path.write_text(json.dumps(value))
    return path


def test_published_averages_are_recomputed():
    averages = {row.name.split()[0]: round(row.average, 2) for row in table.published_rows()}
    assert averages == {"W/o": 47.50, "C3": 48.06, "BC": 48.74, "ReVision": 50.16, "AnisoAlign": 51.59}


def test_a_whole_a_partial_and_a_limited_row(tmp_path, capsys):
    scores = {name: 0.1 + 0.05 * i for i, name in enumerate(table.BENCHMARKS)}
    write_results(tmp_path / "whole", scores)
    write_results(tmp_path / "part", {"mme": 0.5, "pope": 0.75}, effective_rows=8)
    run("table", tmp_path / "whole", tmp_path / "part", "--published", "--out", tmp_path / "t" / "table")
    printed = capsys.readouterr().out
    whole, part = (
        next(line for line in printed.splitlines() if line.startswith(f"| {name}")) for name in ("whole", "part")
    )
    assert whole.split("|")[-2].strip() == "35.00 ± 0.30"  # mean of .10 ... .60; sqrt(11) * 1 / 11
    assert "part (limited)" in part and "partial (2/11)" in part and "50.00 ± 1.00" in part
    assert "ReVision (published)" in printed and "50.16" in printed
    rows = json.loads((tmp_path / "t" / "table.json").read_text())
    assert [row["partial"] for row in rows] == [False] * 6 + [True]
    sheet = list(csv.DictReader(io.StringIO((tmp_path / "t" / "table.csv").read_text())))
    assert sheet[5]["average"] == "35.0" and sheet[6]["average"] == "" and sheet[6]["limited"] == "True"
    assert (tmp_path / "t" / "table.md").read_text().strip() == printed.strip()


def test_the_newest_score_of_a_benchmark_counts(tmp_path):
    import os

    old = write_results(tmp_path / "r", {"mme": 0.5, "pope": 0.6}, stamp="20270101_000000")
    new = write_results(tmp_path / "r", {"mme": 0.7})
    os.utime(old, (1, 1))
    os.utime(new, (2, 2))
    row = table.read_row(tmp_path / "r")
    assert row.scores["mme"].accuracy == pytest.approx(70) and row.scores["pope"].accuracy == pytest.approx(60)


def test_cost_of_the_papers_corpora(tmp_path, capsys):
    """The dollars printed in ReVision, appendix H.4."""
    assert cost.cost(11.64e6, 16.155e6) == pytest.approx(176.10, abs=0.01)
    assert cost.cost(17.50e6, 187.14e6) == pytest.approx(1893.27, abs=0.01)
    assert cost.PAIRED_DOLLARS == pytest.approx(438.55)
    write_results(tmp_path / "r", {"mme": 0.5})
    (tmp_path / "c.json").write_text(json.dumps({"relative_cost": 0.4016}))
    run("table", tmp_path / "r", "--cost", f"r={tmp_path / 'c.json'}")
    assert "40%" in capsys.readouterr().out


@pytest.mark.slow
def test_the_cost_script_counts_what_was_written_and_read(tmp_path, tiny_llm):
    from transformers import AutoTokenizer

    texts, prompts = ["a dog top-left", "a cat on a red background"], ["where is the dog?"]
    (tmp_path / "generated.txt").write_text("\n".join(texts) + "\n")
    (tmp_path / "prompts.txt").write_text("\n".join(prompts) + "\n")
    script = [ROOT / "scripts" / "cost.py", "--tokenizer", tiny_llm, "--out", tmp_path / "cost.json"]
    flags = ["--generated", tmp_path / "generated.txt", "--prompts", tmp_path / "prompts.txt", "--price-out", "20"]
    done = FORKS.run([*script, *flags], environment=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
    count = [sum(len(tokenizer(t, add_special_tokens=False).input_ids) for t in part) for part in (prompts, texts)]
    record = json.loads((tmp_path / "cost.json").read_text())
    assert [record["tokens_in"], record["tokens_out"]] == count and min(count) > 3
    assert record["dollars"] == pytest.approx((1.25 * count[0] + 20 * count[1]) / 1e6)
    assert record["relative_cost"] == pytest.approx(record["dollars"] / 438.55)
    failed = FORKS.run([*script, "--generated", tmp_path / "none.txt"], environment=ENVIRONMENT)
    assert failed.returncode == 2 and failed.stderr.splitlines()[-1].startswith("error: ")


def test_bad_input(tmp_path, capsys):
    assert "no lmms-eval results" in refuse(capsys, "table", tmp_path)
    (tmp_path / "x_results.json").write_text("{")
    assert "not valid JSON" in refuse(capsys, "table", tmp_path)
    write_results(tmp_path / "r", {"mme": 0.5})
    assert "no row 'q'; there are r" in refuse(capsys, "table", tmp_path / "r", "--cost", "q=c.json")
    assert "no such file" in refuse(capsys, "table", tmp_path / "r", "--cost", f"r={tmp_path / 'none.json'}")
