"""The papers' claims about instruction tuning: what is compared, how verdicts follow, and a tiny real run."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import ENVIRONMENT, ROOT

from revision_plugin.demo import world
from revision_plugin.errors import RevisionError
from scripts.claims import tuning_corpora
from scripts.claims.comparison import FAILS, HOLDS, OPEN
from scripts.claims.tuning_claims import SECTIONS, Figure
from scripts.claims.tuning_plan import (
    ALIGNERS,
    DEFAULT_TUNING,
    FIVE_VECTORS,
    IMAGES,
    PAIRED,
    QUICK_TUNING,
    TEXTS,
    TUNING_BY_NAME,
    TUNING_VARIANTS,
    WITHOUT,
    TuningVariant,
    chosen_tuning,
)
from scripts.claims.tuning_results import TuningResults
from scripts.claims.tuning_training import held_out_questions, run_tuning
from scripts.claims.tuning_verdicts import tuning_answers, tuning_sections

SEEDS, QUESTIONS = 5, 200
TINY = replace(DEFAULT_TUNING, seeds=2, texts=32, steps=3, statistics=40, tuned=16, asked=4)
TINY_VARIANTS = [
    "realign, texts",
    "realign, texts, asked blind",
    f"{WITHOUT}, images, five vectors",
    f"{PAIRED}, images",
]


def test_the_plan():
    assert len(TUNING_BY_NAME) == len(TUNING_VARIANTS), "names tell variants apart"
    by_kind = {(v.stage1, v.stage2, v.share, v.views, v.blind) for v in TUNING_VARIANTS}
    expected = {(s, IMAGES, 1.0, "1", False) for s in (*ALIGNERS, PAIRED, WITHOUT)}
    expected |= {("realign", IMAGES, share, "1", False) for share in (0.3, 0.6)}
    expected |= {(s, TEXTS, 1.0, "1", False) for s in ALIGNERS} | {("realign", TEXTS, 1.0, "1", True)}
    expected |= {(s, IMAGES, 1.0, FIVE_VECTORS, False) for s in (*ALIGNERS, WITHOUT)}
    assert by_kind == expected
    for *_, variants, claims in SECTIONS:
        assert set(variants) <= set(TUNING_VARIANTS)
        assert all(set(claim.needs) <= set(variants) for claim in claims), "a claim stands below what it compares"
    assert DEFAULT_TUNING.seeds >= 5 and QUICK_TUNING.seeds >= 2
    shares = [(DEFAULT_TUNING.tuned_scenes(s), DEFAULT_TUNING.tuning_steps(s)) for s in (0.3, 0.6, 1.0)]
    assert shares == [(154, 20), (307, 39), (512, 64)]
    assert [v.name for v in chosen_tuning(["none, texts"])] == ["none, texts"]
    with pytest.raises(RevisionError, match="no variant 'magic'; there are: none, images; "):
        chosen_tuning(["magic"])


def test_scenes_of_statistics_are_none_that_are_read():
    read = tuning_corpora.half_of_scenes(600, seed=3, stream=1, half=0)
    seen = tuning_corpora.half_of_scenes(600, seed=4, stream=2, half=1)
    assert len(read) == len(seen) == 600 and not set(read) & set(seen)
    assert not any(scene.held_out for scene in [*read, *seen])
    for count in (1, 2, 3):
        shares = [np.mean([len(scene.objects) == count for scene in half]) for half in (read, seen)]
        assert shares == pytest.approx([world.OBJECT_COUNT_WEIGHTS[count - 1]] * 2, abs=0.07)
    again = tuning_corpora.half_of_scenes(50, seed=3, stream=1, half=0)
    assert again == read[:50] != tuning_corpora.half_of_scenes(50, seed=4, stream=1, half=0)


# shares of right answers that make all claims true
LEVELS = {"none": 40, "mean_shift": 44, "c3": 45, "realign": 50, "aniso": 58, "monge": 62, PAIRED: 70, WITHOUT: 30}
BY_SHARE, BLIND = {0.3: 20, 0.6: 35}, 10


def level(variant: TuningVariant) -> int:
    if variant.blind:
        return BLIND
    views = 15 if variant.views == FIVE_VECTORS else 0
    return BY_SHARE.get(variant.share, LEVELS[variant.stage1]) + views


def records(levels, *, seeds=SEEDS):
    """Of `QUESTIONS` answers the first so many percent are right, the same ones in every seed."""
    kinds = (["existence", "position", "content", "color", "count", "relation"] * QUESTIONS)[:QUESTIONS]
    return [
        {
            "part": "tuning",
            "variant": name,
            "seed": seed,
            "stage1": TUNING_BY_NAME[name].stage1,
            "stage2": TUNING_BY_NAME[name].stage2,
            "right": [int(i < round(percent * QUESTIONS / 100)) for i in range(QUESTIONS)],
            "kinds": kinds,
            "seconds": {},
        }
        for seed in reversed(range(seeds))
        for name, percent in levels.items()
    ]


TRUE_LEVELS = {variant.name: level(variant) for variant in TUNING_VARIANTS}


def test_differences_are_paired_by_question_and_seed():
    first, second = (TUNING_BY_NAME[f"{name}, images"] for name in ("aniso", "realign"))
    made = records({first.name: 55, second.name: 50})
    gain = TuningResults(made).points(first, second)
    # one more right in twenty: of 200 differences, ten are 1, the others 0
    half_width = 100 * 1.96 * np.sqrt(0.05 * 0.95 / QUESTIONS)
    assert gain.mean == pytest.approx(5) and gain.by_seed == pytest.approx([5] * SEEDS)
    assert (gain.high - gain.low) / 2 == pytest.approx(half_width, rel=0.1)
    for record in made:  # seed n gets 10 n more questions wrong in both
        record["right"] = [r * int(i >= 10 * record["seed"]) for i, r in enumerate(record["right"])]
    shifted = TuningResults(made).points(first, second)
    assert shifted == pytest.approx(gain) or (shifted.mean, shifted.low, shifted.high) == (
        gain.mean,
        gain.low,
        gain.high,
    )


def test_verdicts_follow_from_the_answers():
    answers = tuning_answers(records(TRUE_LEVELS))
    assert [a.verdict for a in answers] == [HOLDS] * 7, [a.sentence for a in answers]
    reversed_levels = {name: 100 - percent for name, percent in TRUE_LEVELS.items()}
    # reversed, every difference is; and the aligners' order, reversed with one vector and with five, stays
    assert [a.verdict for a in tuning_answers(records(reversed_levels))] == [FAILS] * 6 + [HOLDS]
    alike = [a.verdict for a in tuning_answers(records(dict.fromkeys(TRUE_LEVELS, 50)))]
    assert alike == [OPEN] * 7
    turned = {n: 110 - p if n.endswith("five vectors") else p for n, p in TRUE_LEVELS.items()}
    order = tuning_answers(records(turned))[-1]
    assert order.verdict == FAILS and "is the other way round" in order.sentence


def test_one_part_that_does_not_hold_decides():
    levels = TRUE_LEVELS | {"aniso, texts": 47}
    chain = tuning_answers(records(levels))[3]
    assert chain.verdict == FAILS
    assert "aniso, texts over realign, texts -3.0 [" in chain.sentence and "the other way round" in chain.sentence
    assert [row[3] for row in chain.rows] == [HOLDS, HOLDS, HOLDS, HOLDS, FAILS]


def test_far_below_means_further_than_what_alignment_wins():
    near = tuning_answers(records(TRUE_LEVELS | {"realign, texts, asked blind": 30}))[4]
    assert [row[3] for row in near.rows] == [HOLDS, FAILS] and near.verdict == FAILS
    assert [row[2].split(" ")[0] for row in near.rows] == ["+10.0", "-8.0"], "40 - 30, and that less 58 - 40"
    assert [row[1].split(" ")[0] for row in near.rows] == ["+32.23", "+24.82"], "40.08 - 7.85; less 47.49 - 40.08"


def test_the_papers_figures():
    """As printed: ReVision's Tables 6 and 7, AnisoAlign's Tables 1 and 2."""
    rows = [row for answer in tuning_answers(records(TRUE_LEVELS)) for row in answer.rows]
    figures = {what: paper for what, paper, _, _ in rows}
    assert (
        figures["realign, images over without Stage 1, images"] == "+6.58 (43.58 to 50.16; arXiv 2602.07026v3, Table 6)"
    )
    share = "realign, images, 60% of the data over realign, images, 30% of the data"
    assert figures[share] == "+3.58 (44.36 to 47.94; arXiv 2602.07026v3, Table 7)"
    assert figures["realign, images over realign, images, 60% of the data"].startswith("+2.22 (47.94 to 50.16; ")
    assert figures["aniso, texts over realign, texts"] == "+2.49 (45.00 to 47.49; arXiv 2605.07825, Table 1)"
    assert figures["mean_shift, texts over none, texts"].startswith("+2.49 (40.08 to 42.57; ")
    assert figures["c3, texts over none, texts"].startswith("+2.36 (40.08 to 42.44; ")
    assert figures["aniso, images over realign, images"] == "+1.43 (50.16 to 51.59; arXiv 2605.07825, Table 2)"
    assert Figure("anisoalign-1", "W/o Align", "Blind").averages == (40.08, 7.85)


def test_sections():
    made = records(TRUE_LEVELS)
    foreign = {"part": "captions", "variant": "none, images", "seed": 9}
    sections = tuning_sections([*made, foreign])
    assert len(sections) == 4
    page = "\n".join(body for _, body in sections)
    assert "| none, texts | 40.0 [" in page and page.count("**Verdict: holds.**") == 7
    assert "| realign, texts, asked blind | 10.0 [" in page
    assert "| aniso, texts over realign, texts | +2.49 (45.00 to 47.49; arXiv 2605.07825, Table 1) | +8.0 [" in page
    few = dict(tuning_sections([r for r in made if r["variant"] == "none, images"]))
    assert all("**Verdict: cannot tell here.** Not run: " in body for body in few.values())
    assert "Not run: realign, images; without Stage 1, images." in next(iter(few.values()))


def test_a_folder_holds_one_run_of_seeds(tmp_path):
    with pytest.raises(RevisionError, match="give at least 2"):
        run_tuning(tmp_path, replace(TINY, seeds=1), chosen_tuning())
    (tmp_path / "tuning.json").write_text('{"settings": {}}')
    with pytest.raises(RevisionError, match="holds a stopped run with another settings"):
        run_tuning(tmp_path, TINY, chosen_tuning())


DRIVE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_claims_tuning import TINY, TINY_VARIANTS
from scripts.claims.tuning_plan import chosen_tuning
from scripts.claims.tuning_training import run_tuning
run_tuning(Path(sys.argv[1]), TINY, chosen_tuning(TINY_VARIANTS), workers=2)
"""


def results_in(out):
    results = {path.parent.name: json.loads(path.read_text()) for path in out.glob("trainings/*/result.json")}
    for record in results.values():
        del record["seconds"]
    return results


@pytest.mark.slow
def test_a_tiny_run_and_a_stopped_one(tmp_path):
    """Stage 1 on text and on pairs; Stage 2 on captions alone, on images, and on views without a Stage 1."""
    out = tmp_path / "run"

    def run():
        command = [sys.executable, "-c", DRIVE, out, ROOT, ROOT / "tests", ROOT / "tests" / "scripts"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT)
        assert done.returncode == 0, done.stderr[-3000:]

    run()
    whole = results_in(out)
    assert len(whole) == 2 * len(TINY_VARIANTS)
    _, asked = held_out_questions(TINY)
    for record in whole.values():
        assert set(record) == {"part", "variant", "seed", "stage1", "stage2", "right", "kinds"}
        assert record["kinds"] == [question.kind for _, question in asked] and len(record["right"]) == len(asked)
        assert set(record["right"]) <= {0, 1}
    captioned = json.loads((out / "data" / "seed-0" / "captioned.json").read_text())
    about_images = json.loads((out / "data" / "seed-0" / "questions-16.json").read_text())
    assert [r["conversations"] for r in captioned] == [r["conversations"] for r in about_images]
    assert not any("image" in r for r in captioned) and all("image" in r for r in about_images)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("trainings/*/result.json")}
    for lost in ("realign-texts-seed-1", "without-Stage-1-images-five-vectors-seed-0"):
        (out / "trainings" / lost / "result.json").unlink()
    run()
    assert results_in(out) == whole, "what was lost is made again, the same"
    untouched = [p for p in kept if "paired" in p.parent.name or p.parent.name.startswith("realign-texts-seed-0")]
    assert len(untouched) == 3 and all(path.stat().st_mtime_ns == kept[path] for path in untouched)
