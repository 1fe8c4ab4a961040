"""The page of `revision table`: what its cards and bars say of results with samples."""

import json

import pytest
from benchmark_data import write_all
from conftest import run

from revision_plugin.evaluation.contact_sheet import contact_sheet
from revision_plugin.evaluation.results import read_row, read_samples
from revision_plugin.evaluation.table_page import table_page

HOSTILE = "<script>alert(1)</script>"
STAMP = "20260101_000000"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """POPE's first four rows, of two categories, half of them right, and the data that they were asked about."""
    root = tmp_path_factory.mktemp("table")
    folder = root / "run"
    folder.mkdir()
    scores = {"revision_pope": {"acc,none": 0.5, "acc_stderr,none": 0.25}}
    counts = {"revision_pope": {"original": 4, "effective": 4}}
    (folder / f"{STAMP}_results.json").write_text(json.dumps({"results": scores, "n-samples": counts}))
    samples = [
        {
            "doc_id": number,
            "acc": float(number % 2),
            "input": f"is there a {number}? {HOSTILE}",
            "filtered_resps": HOSTILE,
            "target": "yes",
            "clustered": {"name": "r", "cluster": "1", "parts": {"category": ["random", "popular"][number // 2]}},
        }
        for number in range(4)
    ]
    lines = "".join(json.dumps(each) + "\n" for each in samples)
    (folder / f"{STAMP}_samples_revision_pope.jsonl").write_text(lines)
    data = write_all(root / "data")
    (folder / "data.json").write_text(json.dumps({"revision_pope": {"data_root": str(data)}}))
    return folder


def test_cards_show_reply_picture_and_what_is_right(results):
    sheet = contact_sheet({"run": read_samples(results)}, {"run": results})
    assert not sheet.notes and len(sheet.cards) == 4
    assert [card.mark for card in sheet.cards] == ["wrong", "right", "wrong", "right"]
    assert [card.tags["question"] for card in sheet.cards] == ["random", "random", "popular", "popular"]
    assert {card.tags["benchmark"] for card in sheet.cards} == {"POPE"}
    assert all(card.picture.startswith("data:image/webp") for card in sheet.cards)
    assert ("right answer", "yes") in sheet.cards[0].lines and ("reply", HOSTILE) in sheet.cards[0].lines


def test_without_the_data_the_page_says_so(results, tmp_path):
    sheet = contact_sheet({"run": read_samples(results)}, {"run": tmp_path})
    assert len(sheet.cards) == 4 and all(card.picture is None for card in sheet.cards)
    (note,) = sheet.notes
    assert "POPE: no pictures" in note and "--data-root" in note
    assert note in table_page([read_row(results)], sheet, command="revision table").html().replace("&#39;", "'")


def test_bars_have_the_intervals_of_the_scores(results):
    page = table_page([read_row(results)], contact_sheet({}, {}), command="revision table")
    whole, parts = (piece["content"] for piece in page.pieces if piece["kind"] == "figure")
    (bar,) = whole["data"]
    assert bar["x"] == ["POPE"] and bar["y"] == [50.0] and bar["error_y"]["array"] == [pytest.approx(1.96 * 25)]
    (bar,) = parts["data"]  # .5 of two rows: sqrt(.25 / 2) = .3536
    assert bar["x"] == ["popular", "random"] and bar["y"] == [50.0, 50.0]
    assert bar["error_y"]["array"] == [pytest.approx(1.96 * 35.355, rel=1e-3)] * 2


def test_the_command_writes_the_page_beside_the_table(results, tmp_path):
    run("table", results, "--published", "revision-1", "--out", tmp_path / "scores")
    text = (tmp_path / "scores.html").read_text()
    assert "ReVision (published)" in text and HOSTILE not in text and "&lt;script&gt;alert(1)" in text
    assert text.count('class="card right"') == text.count('class="card wrong"') == 2
