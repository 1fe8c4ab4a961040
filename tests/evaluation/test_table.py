import csv
import io
import json

import pytest
from conftest import ENVIRONMENT, FORKS, ROOT, refuse, run

from revision_plugin.evaluation import breakdown, published, results, table
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


def test_the_papers_tables_are_whole_and_their_slips_are_said():
    names = list(published.tables())
    assert names == [*(f"revision-{n}" for n in range(1, 9)), *(f"anisoalign-{n}" for n in range(1, 5))]
    slips = {}
    for name in names:
        rows = published.published_rows(name)
        assert rows and all(row.printed is not None for row in rows)
        for row in rows:
            if row.average is not None and abs(row.average - row.printed) > 0.01:
                slips[name, row.name.removesuffix(" (published)")] = (round(row.average, 2), row.printed)
                assert f"{row.average:.2f}" in row.note
    assert slips == {
        ("revision-1", "ReVision"): (50.16, 51.16),
        ("revision-2", "ReVision-2M"): (49.80, 49.75),
        ("anisoalign-3", "w/ Image"): (52.36, 52.72),
        ("anisoalign-3", "AnisoAlign-1M"): (51.59, 51.60),
        ("anisoalign-3", "AnisoAlign-2M"): (52.89, 52.75),
    }
    assert [row.name for row in published.published_rows("anisoalign-1")][0] == "Blind (published)"


def test_published_tables_by_name(capsys):
    run("table", "--published", "revision-1", "--published", "revision-5")
    printed = capsys.readouterr().out
    assert "50.16 (printed 51.16)" in printed and "46.68 (printed)" in printed
    assert "ReVision (published): the mean of the row is 50.16" in printed
    assert "no published table 'x'; there are revision-1 (" in refuse(capsys, "table", "--published", "x")
    assert "nothing to show" in refuse(capsys, "table")


def test_a_whole_a_partial_and_a_limited_row(tmp_path, capsys):
    scores = {name: 0.1 + 0.05 * i for i, name in enumerate(table.BENCHMARKS)}
    write_results(tmp_path / "whole", scores)
    write_results(tmp_path / "part", {"mme": 0.5, "pope": 0.75}, effective_rows=8)
    run("table", tmp_path / "whole", tmp_path / "part", "--published", "revision-3", "--out", tmp_path / "t" / "table")
    printed = capsys.readouterr().out
    whole, part = (
        next(line for line in printed.splitlines() if line.startswith(f"| {name}")) for name in ("whole", "part")
    )
    assert whole.split("|")[-2].strip() == "35.00 ± 0.30"  # mean of .10 ... .60; sqrt(11) * 1 / 11
    assert "part (limited)" in part and "partial (2/11)" in part and "50.00 ± 1.00" in part
    assert "ReVision (published)" in printed and "MME has 100 rows here, 2374 in the papers" in printed
    rows = json.loads((tmp_path / "t" / "table.json").read_text())
    assert [row["partial"] for row in rows] == [False] * 3 + [True]
    sheet = list(csv.DictReader(io.StringIO((tmp_path / "t" / "table.csv").read_text())))
    assert sheet[2]["average"] == "35.0" and sheet[3]["average"] == "" and sheet[3]["limited"] == "True"
    assert (tmp_path / "t" / "table.md").read_text().strip() == printed.strip()


def test_the_newest_score_of_a_benchmark_counts(tmp_path):
    import os

    old = write_results(tmp_path / "r", {"mme": 0.5, "pope": 0.6})
    new = write_results(tmp_path / "r", {"mme": 0.7}, stamp="20270101_000000")
    os.utime(old, (2, 2))  # copied later
    os.utime(new, (1, 1))
    row = results.read_row(tmp_path / "r")
    assert row.scores["mme"].accuracy == pytest.approx(70) and row.scores["pope"].accuracy == pytest.approx(60)


def test_a_row_is_of_one_model_asked_in_one_way(tmp_path, capsys):
    """A folder that holds several runs is refused, by what each was asked or by lmms-eval's own record."""
    for name, settings in (("seeing", {"blind": False}), ("blind", {"blind": True})):
        write_results(tmp_path / "two" / name, {"mme": 0.5} if name == "blind" else {"pope": 0.6})
        (tmp_path / "two" / name / "evaluation.json").write_text(json.dumps({"model": "m", **settings}))
    assert "two: its results are not of one model, asked in one way" in refuse(capsys, "table", tmp_path / "two")
    run("table", tmp_path / "two" / "blind")
    for model in ("a", "b"):
        path = write_results(tmp_path / "models" / model, {"mme": 0.5} if model == "a" else {"pope": 0.6})
        path.write_text(json.dumps({**json.loads(path.read_text()), "config": {"model_args": f"pretrained={model}"}}))
    assert "not of one model" in refuse(capsys, "table", tmp_path / "models")
    write_results(tmp_path / "part", {"mme": 0.5})
    write_results(tmp_path / "part", {"pope": 0.5}, effective_rows=7, stamp="20270101_000000")
    assert "pope is of a part of the rows, the others of all" in refuse(capsys, "table", tmp_path / "part")


def sample(doc_id, acc, **row):
    return {"doc_id": doc_id, "acc": float(acc), "clustered": {"name": "r", "parts": {}, **row}}


def test_errors_over_clusters():
    """Two clusters of two equal rows: the sums of their deviations are 1 and -1, so 2 (1 + 1) / (2 - 1) = 4 is under
    the root, over four rows.
    """
    pairs = [sample(n, n < 2, cluster=str(n // 2)) for n in range(4)]
    assert breakdown.cluster_error("mme", pairs) == pytest.approx((2 * (1 + 1) / 1) ** 0.5 / 4)
    alone = [sample(n, n < 2, cluster=str(n)) for n in range(4)]
    assert breakdown.cluster_error("mme", alone) == pytest.approx((0.25 / 3) ** 0.5)  # the plain standard error
    assert breakdown.cluster_error("mme", [sample(0, 1)]) is None


def test_the_benchmarks_own_measures():
    mme = [
        sample(n, acc, question_id=str(n // 2), cluster=str(n // 2)) for n, acc in enumerate([1, 1, 1, 0, 0, 0, 1, 1])
    ]
    for number, each in enumerate(mme):
        each["clustered"]["parts"] = {"category": "color" if number < 4 else "code_reasoning"}
    assert breakdown.measures("mme", mme) == {"perception": 75 + 50, "cognition": 50 + 50}
    said = [("yes", "yes"), ("yes", "no"), (None, "yes"), ("no", "no")]
    pope = [sample(n, s == r, said=s, right=r) for n, (s, r) in enumerate(said)]
    measured = breakdown.measures("pope", pope)
    assert measured == {"precision": 0.5, "recall": 0.5, "F1": 0.5, "yes share": 0.5, "unclear": 0.25}
    hallusion = [
        sample(n, acc, cluster="VD | illusion | 0", figure_id=str(n // 2), question_id=str(n % 2))
        for n, acc in enumerate([1, 1, 1, 0])
    ]
    assert breakdown.measures("hallusionbench", hallusion) == {"aAcc": 0.75, "qAcc": 0.5, "fAcc": 0.5}
    crpe = [sample(n, acc, cluster="q") for n, acc in enumerate([1, 1, 1, 1, 1, 1, 0, 1, 1, 1])]
    for each in crpe:  # two questions of one wording, about two images; of a third, two orders
        each["clustered"]["parts"] = {"category": "subject"}
    assert breakdown.measures("crpe", crpe) == {"plain": 0.9, "circular": 0.5, "questions": 2.0}
    assert [len(group) for group in breakdown.circular_questions(crpe)] == [4, 4, 2]
    assert breakdown.measures("hallusionbench", crpe) == {}, "samples of another kind"


def test_samples_beside_the_results_are_read(tmp_path, capsys):
    write_results(tmp_path / "r", {"pope": 0.5}, effective_rows=6)
    rows = [sample(n, n % 2, cluster=str(n // 3), said="yes", right="yes" if n % 2 else "no") for n in range(6)]
    for number, each in enumerate(rows):
        each["clustered"]["parts"] = {"category": ["random", "popular"][number // 3]}
    path = tmp_path / "r" / "20260101_000000_samples_revision_pope.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    run("table", tmp_path / "r", "--breakdown")
    printed = capsys.readouterr().out
    assert "50.00 ± 1.00 [16.67]" in printed and "In brackets: standard error over clusters" in printed
    assert "POPE: precision 50.00 %, recall 100.00 %, F1 66.67 %" in printed
    assert "| random | 33.33 | 3 |" in printed and "| popular | 66.67 | 3 |" in printed
    path.write_text(
        "".join(json.dumps({**each, "filtered_resps": "a\u2028b"}, ensure_ascii=False) + "\n" for each in rows)
    )
    run("table", tmp_path / "r", "--breakdown")
    assert "F1 66.67 %" in capsys.readouterr().out
    path.write_text("".join(json.dumps(each) + "\n" for each in rows[:3]))
    run("table", tmp_path / "r", "--breakdown")
    assert "F1" not in capsys.readouterr().out, "samples of another run"
    path.write_text("{\n")
    assert "no samples of lmms-eval" in refuse(capsys, "table", tmp_path / "r")


def test_cost_of_the_papers_corpora(tmp_path, capsys):
    """The dollars printed in ReVision, appendix H.4."""
    assert cost.cost(11.64e6, 16.155e6) == pytest.approx(176.10, abs=0.01)
    assert cost.cost(17.50e6, 187.14e6) == pytest.approx(1893.27, abs=0.01)
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
    assert record["relative_cost"] == pytest.approx(record["dollars"] / 600.05), "pairs at the same prices"
    assert record["relative_cost_printed"] == pytest.approx(record["dollars"] / 637.55)
    failed = FORKS.run([*script, "--generated", tmp_path / "none.txt"], environment=ENVIRONMENT)
    assert failed.returncode == 2 and failed.stderr.splitlines()[-1].startswith("error: ")


def test_bad_input(tmp_path, capsys):
    assert "no lmms-eval results" in refuse(capsys, "table", tmp_path)
    (tmp_path / "x_results.json").write_text("{")
    assert "not valid JSON" in refuse(capsys, "table", tmp_path)
    write_results(tmp_path / "r", {"mme": 0.5})
    assert "no row 'q'; there are r" in refuse(capsys, "table", tmp_path / "r", "--cost", "q=c.json")
    assert "no such file" in refuse(capsys, "table", tmp_path / "r", "--cost", f"r={tmp_path / 'none.json'}")
