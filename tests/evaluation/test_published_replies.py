"""`scripts.bench.replies` on checkouts of a few replies, laid out as the benchmarks' repositories are."""

import csv
import json

import pytest

from scripts.bench import replies


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture
def checkouts(tmp_path):
    answers = {"v1_0": "B", "v1_1": "A, C", "v1_2": ""}
    question = "Which? Select from A, B and C. (A) red (B) green (C) blue"
    rows = {name: {"question": question if answer else "", "answer": answer} for name, answer in answers.items()}
    write_json(tmp_path / "LogicVista" / "data" / "dataset.json", rows)
    results = tmp_path / "LogicVista" / "eval" / "results"
    results.mkdir(parents=True)
    with open(results / "M-accuracy-results.csv", "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["", "id", "true answer", "M answer extracted", "M answer raw", "match?"])
        lines.writerow([0, "v1_0", "['b']", "['b']", "It is green.", 1])
        lines.writerow([1, "v1_1", "['a', 'c']", "['a']", "A and C", 0])
        lines.writerow([2, "v1_2", "['']", "['ZZZZZ']", "", 0])
    pro = {"id": "test_Art_1", "question": "<image 1>?", "options": "['x', 'y']", "answer": "B"}
    path = tmp_path / "MMMU" / "mmmu-pro" / "output" / "model.jsonl"
    path.parent.mkdir(parents=True)
    said = [{"response": "B. y", "if_right": "True"}, {"response": "I cannot.", "if_right": "True"}]
    path.write_text("".join(json.dumps({**pro, **each}) + "\n" for each in said))
    row = {
        "category": "VD",
        "subcategory": "s",
        "visual_input": "1",
        "set_id": "0",
        "figure_id": "0",
        "question_id": "0",
    }
    write_json(tmp_path / "H" / "HallusionBench.json", [{**row, "question": "Is it?", "gt_answer": "0"}])
    sample = [{**row, "question": question, "model_prediction": "No."} for question in ("Is it?", "Was it?")]
    write_json(tmp_path / "H" / "HallusionBench_result_sample.json", sample)
    return tmp_path


def test_what_is_right_beside_the_official_extraction(checkouts, monkeypatch, capsys):
    flags = [
        "--logicvista",
        checkouts / "LogicVista",
        "--mmmu",
        checkouts / "MMMU",
        "--hallusionbench",
        checkouts / "H",
    ]
    monkeypatch.setattr("sys.argv", ["replies", *map(str, flags)])
    replies.main()
    printed = capsys.readouterr().out
    assert "LogicVista M: 2 replies, official 1 right of 2" in printed  # the empty row is none
    assert "2 right of 2; agrees on 50.00 %, right only here 1, right only officially 0" in printed
    assert "MMMU-Pro model: 2 replies, official 1 right of 1" in printed  # the other was drawn
    assert "1 of 2 replies to HallusionBench are to rows that the benchmark no longer has" in printed
    assert "HallusionBench GPT-4V: 1 replies\n  ours             1 right of 1" in printed


def test_nothing_to_read(monkeypatch):
    monkeypatch.setattr("sys.argv", ["replies"])
    with pytest.raises(SystemExit, match="no checkout is given"):
        replies.main()
