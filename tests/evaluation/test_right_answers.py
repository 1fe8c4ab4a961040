"""`score`: one reply to one row of any task, on rows that break naive code."""

import pytest

from revision_plugin.errors import RevisionError
from revision_plugin.evaluation import score
from revision_plugin.evaluation.benchmarks import BENCHMARKS, benchmark
from revision_plugin.evaluation.right_answers import listed

ONE_LINE = "Select from A, B and C. (A) True (B)False (C)Insufficient Information"


def test_options_that_are_numbers_in_a_question_of_letters():
    row = {"question": "Which is the correct answer according to the image? Select from 1-5", "answer": "3"}
    assert score("logicvista", row, "The answer is 3.") == 1.0 and score("logicvista", row, "2") == 0.0
    for reply in ("", "I cannot tell.", "none"):
        assert score("logicvista", row, reply) == 0.0


def test_an_empty_row_is_named():
    with pytest.raises(RevisionError, match="row id=v1_382: its field 'question' is empty; get the dataset again"):
        score("logicvista", {"id": "v1_382", "question": "", "answer": ""}, "")


def test_options_in_one_line_of_the_question():
    row = {"question": f"The chair is yellow. {ONE_LINE}", "answer": "B"}
    for reply in ("B", "(B)", "False", "The statement is false.", "B. False"):
        assert score("logicvista", row, reply) == 1.0, reply
    assert score("logicvista", row, "True") == 0.0


def test_several_letters_must_all_be_named():
    row = {"question": "Which choices in the image (A-D) are green?", "answer": "A, C"}
    assert score("logicvista", row, "A and C") == score("logicvista", row, "The answers are C, A.") == 1.0
    assert score("logicvista", row, "A") == score("logicvista", row, "A, B, C, D") == 0.0


def mmmu(options, answer, **others):
    return {"id": "test_Art_1", "question": "What?", "options": options, "answer": answer, **others}


def test_nested_and_many_options():
    nested = mmmu("[['A', 'B', 'Not enough information']]", "B")
    assert score("mmmu_pro", nested, "B") == 1.0 and score("mmmu_pro", nested, "Not enough information") == 0.0
    twelve = mmmu(str([f"node {number}" for number in range(12)]), "L")
    assert score("mmmu_pro", twelve, "L. node 11") == 1.0 and score("mmmu_pro", twelve, "K") == 0.0


@pytest.mark.parametrize("kind", ["open", "short-answer", "multiple-choice"])
def test_open_questions(kind):
    row = mmmu("[]", "7,243", question_type=kind)
    assert score("mmmu", row, "7243") == score("mmmu", row, "It is 7,243.") == 1.0
    assert score("mmmu", row, "243") == score("mmmu", row, "7") == 0.0
    several = mmmu("[]", "['4.50', '4.5 dollars']", question_type=kind)
    assert score("mmmu", several, "The answer is 4.5") == 1.0


def test_rows_as_pandas_and_numpy_have_them():
    import numpy as np

    row = {"question": "q", "choices": np.array(["x", "y"], dtype=object), "answer": np.int64(1)}
    assert score("scienceqa", row, "B. y") == 1.0
    assert score("mmmu", mmmu(None, np.array(["4", "5"]), question_type="open"), "It is 5.") == 1.0
    assert score("hallusionbench", {"question": "q", "gt_answer": 1.0}, "Yes") == 1.0
    assert score("logicvista", {"question": "Which? (A-D)", "answer": ["A", "C"]}, "A, C") == 1.0
    assert score("mmstar", {"question": "What?\nA. x\nB. y", "answer": "B. y"}, "y") == 1.0


def test_an_open_answer_may_be_an_interval():
    assert score("mmmu", mmmu("[]", "[0, 1)", question_type="open"), "[0, 1)") == 1.0
    closed = mmmu("[]", "[0, 1]", question_type="open")
    assert score("mmmu", closed, "[0, 1]") == 1.0 and score("mmmu", closed, "0") == 0.0
    assert score("realworldqa", {"question": "Which plate: A. or B.?\nA. x\nB. y", "answer": "Left"}, "Left") == 1.0


def test_listed():
    assert listed("7,243") == ["7,243"] and listed("['a', 'b']") == ["a", "b"] and listed(None) == listed("[]") == []
    assert listed("[['a', 'b'], 'c']") == ["a", "b", "c"]


@pytest.mark.parametrize(
    "task, row, line",
    [
        ("mme", {"question_id": "3.png", "answer": None}, "row question_id=3.png: its field 'answer' is empty"),
        ("pope", {"question_id": "7", "answer": "2"}, "row question_id=7: its answer is '2', neither yes nor no"),
        ("hallusionbench", {"question_id": "1", "gt_answer": "2"}, "its gt_answer is '2', neither 0 nor 1"),
        ("scienceqa", {"question": "q", "choices": [], "answer": 0}, "it has no choices"),
        (
            "scienceqa",
            {"question": "q", "choices": ["x"], "answer": 2},
            "its answer is 2, not the number of one of its 1",
        ),
        (
            "mmstar",
            {"index": 4, "question": "What?\nOptions: A: x, B: y", "answer": "D"},
            "is 'D', which is none of its",
        ),
        ("mmmu", mmmu("['x', 'y']", ""), "row id=test_Art_1: its field 'answer' is empty"),
        ("mmmu", mmmu("[]", "[]", question_type="open"), "row id=test_Art_1: its field 'answer' is empty"),
        ("visulogic", {"image_path": "a.png", "label": ""}, "row image_path=a.png: its field 'label' is empty"),
        (
            "crpe",
            {"text": "What?\nA. x\nB. y", "correct_option": "2"},
            "its answer is '2', which is none of its options",
        ),
        ("mmmu", mmmu("[]", "B", question_type="multiple-choice"), "its answer is the letter B, but it has no options"),
        ("mmmu", mmmu("['it's', 'b']", "A"), "row id=test_Art_1: its field 'options': .* is no list"),
        ("mmmu", mmmu(["a", None], "A"), "row id=test_Art_1: its field 'options': .* has an empty entry"),
        ("mmmu", mmmu("[]", float("nan"), question_type="open"), "row id=test_Art_1: its field 'answer' is empty"),
        ("pope", {"id": "7", "question": "", "answer": "yes"}, "row id=7: its field 'question' is empty"),
        ("mme", {"question_id": "3.png", "question": "q"}, "row question_id=3.png lacks the field 'answer'"),
        ("nosuch", {}, "no benchmark 'nosuch'; there are mme"),
    ],
)
def test_a_bad_row_gets_one_line(task, row, line):
    with pytest.raises(RevisionError, match=line.replace("[", "\\[")) as error:
        score(task, row, "yes")
    assert "\n" not in str(error.value)


def test_the_papers_counts_are_in_one_place():
    counts = {name: benchmark(name).rows for name in BENCHMARKS}
    assert counts["mme"] == 2374 and counts["scienceqa"] == 4114 and counts["logicvista"] == 447
    assert counts["mmmu"] == 857 and counts["mmmu_pro"] == 1592 and counts["hallusionbench"] == 951
    assert None not in counts.values() and len(counts) == 11
