"""The papers' claims on the embedded world: what is compared, how a verdict is reached, and a real run."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from conftest import ENVIRONMENT, FORKS, ROOT, kill_all

from revision_plugin.demo import world
from revision_plugin.demo.tokenizer import build_tokenizer
from revision_plugin.errors import RevisionError
from scripts.claims import claim_corpora as corpora
from scripts.claims import verdicts
from scripts.claims.claims_page import PAGE, write_report
from scripts.claims.comparison import (
    FAILS,
    HOLDS,
    OPEN,
    Interval,
    Results,
    all_of,
    better,
    bootstrap,
    no_difference,
    no_worse,
)
from scripts.claims.plan import BY_NAME, DEFAULT, QUICK, VARIANTS, chosen_variants
from scripts.claims.pool import run_claims

SEEDS, SCENES = 5, 60
TINY = replace(DEFAULT, seeds=2, steps=6, texts=48, unpaired=60, held_out=20, captioned=6, asked=4, tuning_images=(8,))


def test_the_interval_is_that_of_both_samples(rng):
    """Against the normal interval of the two variances, which add up."""
    by_seed, by_scene = rng.normal(size=(400, 1)), 2 * rng.normal(size=(1, 300))
    interval = bootstrap(0.3 + by_seed + by_scene, rounds=4000)
    half_width = 1.96 * np.sqrt(by_seed.var() / 400 + by_scene.var() / 300)
    assert interval.mean == pytest.approx(0.3 + by_seed.mean() + by_scene.mean())
    assert (interval.high - interval.low) / 2 == pytest.approx(half_width, rel=0.05)
    assert bootstrap(np.full((3, 4), 0.5)) == Interval(0.5, 0.5, 0.5, (0.5, 0.5, 0.5))
    assert bootstrap(by_seed + by_scene) == bootstrap(by_seed + by_scene), "the same every time"


def test_few_seeds_widen_the_interval(rng):
    """Of 300 experiments of five seeds, some 95 % must have an interval that holds the true mean."""
    covered = 0
    for _ in range(300):
        interval = bootstrap(np.repeat(rng.normal(size=(5, 1)), 2, axis=1), rounds=800)
        covered += interval.low < 0 < interval.high
    assert 0.91 < covered / 300 < 0.99
    with pytest.raises(ValueError, match="at least two"):
        bootstrap(np.ones((1, 5)))


def test_verdicts():
    def gain(low, high):
        return Interval((low + high) / 2, low, high, ())

    assert [better(gain(*g)) for g in ((0.1, 0.3), (-0.1, 0.3), (-0.3, -0.1))] == [HOLDS, OPEN, FAILS]
    assert [no_worse(gain(*g), 0.05) for g in ((-0.04, 0), (-0.06, 0), (-0.09, -0.06))] == [HOLDS, OPEN, FAILS]
    assert [no_difference(gain(*g), 0.05) for g in ((-0.04, 0.04), (-0.04, 0.06), (0.06, 0.09), (-0.2, -0.1))] == [
        HOLDS,
        OPEN,
        FAILS,
        FAILS,
    ]
    assert all_of([HOLDS, HOLDS]) == HOLDS and all_of([HOLDS, OPEN]) == OPEN and all_of([OPEN, FAILS]) == FAILS


def test_the_plan_names_all_that_the_questions_need():
    assert len(BY_NAME) == len(VARIANTS)
    for question in verdicts.QUESTIONS:
        assert set(question.needs) <= set(BY_NAME)
        assert set(question.needs) <= {v.name for v in chosen_variants(quick=True)}, "a quick run answers all questions"
    assert DEFAULT.seeds >= 5 and verdicts.TUNED_ON in QUICK.tuning_images
    assert [v.name for v in chosen_variants(quick=False, only=["bc"])] == ["bc", "shuffled"], "never without the floor"
    with pytest.raises(RevisionError, match="no variant 'magic'"):
        chosen_variants(quick=False, only=["magic"])


def test_captions_and_rows():
    scene = world.Scene(((0, 1), (5, 2)), 3)
    names = world.object_names()
    short, full, long = (corpora.caption(scene, 9, style) for style in ("short", "full", "long"))
    assert full == world.caption(scene) and long.startswith(f"there are two objects . {full} . ")
    assert short.split(" and ") == [world.with_article(names[0]), world.with_article(names[5])]
    tokenizer = build_tokenizer()
    assert tokenizer.unk_token_id not in tokenizer(long).input_ids
    drawn = [set(corpora.training_rows(TINY, seed, 4)) for seed in range(3)]
    assert all(len(rows) == 4 * TINY.texts for rows in drawn) and not drawn[0] & drawn[1] and not drawn[1] & drawn[2]
    assert set(corpora.training_rows(TINY, 1, 2)) > set(corpora.training_rows(TINY, 1)), "more of the same"
    assert not any(scene.held_out for scene in corpora.text_scenes(TINY))
    assert all(scene.held_out for scene in corpora.held_out_scenes(TINY))


# NLL of each variant that makes all eight claims true
LEVELS = {
    "none": 1.0,
    "mean_shift": 0.4,
    "c3": 0.4,
    "c3 0.05": 0.45,
    "c3 0.1": 0.5,
    "realign": 0.3,
    "bc": 1.2,
    "aniso": 0.25,
    "paired": 0.2,
    "shuffled": 1.5,
    "2x text": 0.15,
    "4x text": 0.12,
    "short captions": 0.3,
    "long captions": 0.6,
    "other world": 0.5,
    "other images": 0.4,
    "16 tokens": 0.28,
    "64 tokens": 0.26,
    "5 rounds": 0.3,
    "100 rows": 0.35,
    "24000 rows": 0.3,
    "none, scale 8": 0.4,
    "realign, scale 8": 0.3,
    "none, scale 40": 2.0,
    "realign, scale 40": 0.3,
}


def records(levels, *, untrained=()):
    rng = np.random.default_rng(0)
    common, made = rng.normal(0, 0.05, SCENES), []
    gaps = {"scale 8": 0.1, "scale 16": 0.4, "scale 40": 0.6}
    for name, level in levels.items():
        variant = BY_NAME[name]
        for seed in range(SEEDS):
            noise = rng.normal(0, 0.002, SCENES)
            nll = {"image": level + common + noise, "another": 6 + common + noise}
            if variant.rows == "texts":
                nll |= {"own": nll["image"], "another's own": (level if name in untrained else 6) + common}
            objects = np.clip(1 - level / 2 + common, 0, 1)
            made.append(
                {
                    "variant": name,
                    "seed": seed,
                    "nll": {k: v.tolist() for k, v in nll.items()},
                    "recall": dict.fromkeys(("object", "placed_object", "color"), objects.tolist()),
                    "accuracy": {
                        str(n): (objects > 0.8).astype(int).tolist()
                        for n in ((0, *variant.tuning_images(DEFAULT)) if variant.tuned != "no" else ())
                    },
                    "geometry": {
                        "gap_before": gaps[variant.encoder],
                        "gap": 0.1,
                        "paired_cosine": 0.9,
                        "trace": 0.8,
                        "image_trace": 0.7,
                    },
                    "seconds": {"fit": 1.0, "stage 1": 20.0 * variant.tokens**0.25},
                }
            )
    return made


def test_verdicts_follow_from_the_figures():
    answers = verdicts.answer_all(Results(records(LEVELS)))
    assert [a.verdict for a in answers] == [HOLDS] * 8, [f"{a.question} {a.sentence}" for a in answers]
    other_way = {name: 2 - level for name, level in LEVELS.items()} | {"5 rounds": 1.0}
    assert [a.verdict for a in verdicts.answer_all(Results(records(other_way)))] == [FAILS] * 8
    alike = dict.fromkeys(LEVELS, 0.5) | {"none": 1.0, "none, scale 8": 1.0, "none, scale 40": 1.0}
    outcomes = [a.verdict for a in verdicts.answer_all(Results(records(alike)))]
    assert outcomes == [OPEN, OPEN, OPEN, OPEN, OPEN, OPEN, HOLDS, OPEN]


def test_a_training_that_failed_is_marked_and_decides_nothing(tmp_path):
    results = Results(records(LEVELS, untrained=("aniso",)))
    assert (
        results.untrained("aniso") == SEEDS and results.untrained("realign") == 0 and results.untrained("shuffled") == 0
    )
    first = verdicts.answer_all(results)[0]
    assert first.verdict == OPEN and first.sentence.endswith("Did not train, so not ranked: aniso.")
    made = [
        record for record in records(LEVELS, untrained=("aniso",)) if record["variant"] in verdicts.QUESTIONS[0].needs
    ]
    page = write_report(made, DEFAULT, tmp_path, machine="m", wall=60, command="c")
    assert "| `aniso` |" in page.read_text() and "| did not train (5 of 5) |" in page.read_text()


def test_the_report(tmp_path):
    made = records(LEVELS)
    page = write_report(made, DEFAULT, tmp_path, machine="a machine", wall=3000, command="the command")
    text = page.read_text()
    assert "Written by `the command` in 50 minutes on a machine" in text and "reduced run" not in text
    assert "| `realign` | 0.100 | 0.800 | 0.900 | 0.3" in text
    for number in range(1, 9):
        assert (tmp_path / "pictures" / f"claim-{number}.png").stat().st_size > 8000
        assert f"(pictures/claim-{number}.png)" in text
    few = [record for record in made if record["variant"] in ("none", "realign", "shuffled", "paired")]
    text = write_report(few, QUICK, tmp_path / "few", machine="m", wall=60, command="c").read_text()
    assert "A reduced run" in text and "Not run: mean_shift, c3, aniso." in text


def test_the_readme_quotes_the_page():
    page = (ROOT / "docs" / PAGE).read_text()
    quote = (
        (ROOT / "README.md")
        .read_text()
        .split("<!-- quoted from docs/claims.md -->")[1]
        .split("<!-- end of quote -->")[0]
    )
    lines = [line for line in quote.splitlines() if line.strip()]
    assert len(lines) > 8 and all(line in page.splitlines() for line in lines)
    assert "reduced run" not in page, "of the whole default run"
    assert all((ROOT / "docs" / "pictures" / f"claim-{number}.png").exists() for number in range(1, 9))


def test_a_folder_holds_one_run_of_seeds(tmp_path):
    with pytest.raises(RevisionError, match="give at least 2"):
        run_claims(tmp_path, replace(TINY, seeds=1), chosen_variants(quick=True))
    (tmp_path / "claims.json").write_text('{"settings": {}, "variants": []}')
    with pytest.raises(RevisionError, match="holds a stopped run with another settings, variants"):
        run_claims(tmp_path, TINY, chosen_variants(quick=True))


DRIVE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_claims import TINY
from scripts.claims.plan import chosen_variants
from scripts.claims.pool import run_claims
run_claims(Path(sys.argv[1]), TINY, chosen_variants(quick=False, only=["realign", "paired"]))
"""


def begin(out):
    command = [sys.executable, "-c", DRIVE, out, ROOT, ROOT / "tests", ROOT / "tests" / "scripts"]
    return subprocess.Popen(
        list(map(str, command)), env=ENVIRONMENT, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE
    )


def results_in(out):
    results = {path.parent.name: json.loads(path.read_text()) for path in out.glob("trainings/*/result.json")}
    for record in results.values():
        del record["seconds"]
    return results


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    out, deadline = tmp_path / "cut", time.time() + 300
    process = begin(out)
    while len(results_in(out)) < 2:
        assert process.poll() is None and time.time() < deadline, process.stderr.read().decode()
        time.sleep(0.05)
    kill_all(process)
    saved_mtimes = {path: path.stat().st_mtime_ns for path in out.glob("trainings/*/result.json")}
    assert len(saved_mtimes) < 6
    spent = json.loads((out / "seconds.json").read_text())["wall"]
    for folder in (out, tmp_path / "whole"):
        process = begin(folder)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said.decode()[-2000:]
    assert all(path.stat().st_mtime_ns == time for path, time in saved_mtimes.items()), "nothing is trained twice"
    assert json.loads((out / "seconds.json").read_text())["wall"] > spent > 0, "a run's time is that of all its parts"
    reference_results = results_in(tmp_path / "whole")
    assert results_in(out) == reference_results and len(reference_results) == 6
    assert (
        set(reference_results["realign-seed-0"]["accuracy"]) == {"0", "8"}
        and "own" not in reference_results["paired-seed-0"]["nll"]
    )
    assert len(reference_results["realign-seed-0"]["nll"]["image"]) == TINY.held_out


@pytest.mark.slow
def test_pairs_from_a_store_train_as_pairs_of_images_do(tmp_path):
    """The variant `paired` reads its image embeddings from a store; LLaVA's own data path encodes the same pictures."""
    from revision_plugin.demo import corpus
    from revision_plugin.demo.jobs import COMMON_FLAGS
    from scripts.claims.variant_training import LANGUAGE_MODEL, schedule, write_rows

    variant = BY_NAME["paired"]
    corpora.embed(tmp_path, TINY, "scale 16", "pairs")
    scenes = corpora.text_scenes(TINY)[: TINY.texts]
    write_rows(tmp_path, TINY, variant, 0, tmp_path / "rows")
    names = corpus.write_images(scenes, tmp_path / "images", seed=corpora.TEXT_STREAM)
    corpus.write_corpus(tmp_path / "pairs.json", corpus.caption_records(scenes, names))
    code = (
        "import sys\n"
        f"sys.path[:0] = {[str(ROOT), str(ROOT / 'tests'), str(ROOT / 'tests' / 'scripts')]!r}\n"
        "from pathlib import Path; import numpy as np; from test_claims import TINY, BY_NAME\n"
        "from scripts.claims.variant_training import fit_aligner, train_stage1\n"
        "from revision_plugin.aligners import ALIGNERS\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "ALIGNERS.get('none')().fit(np.eye(192)[:3], np.eye(192)[3:6], encoder='demo', held_out=0).save(folder / "
        "'aligner')\n"
        "train_stage1(TINY, BY_NAME['paired'], 0, folder)\n"
    )
    flags = [
        *COMMON_FLAGS,
        "--version",
        "plain",
        "--tune_mm_mlp_adapter",
        "True",
        "--model_name_or_path",
        LANGUAGE_MODEL,
        "--revision_encoder",
        "demo",
        "--seed",
        "1",
        "--max_steps",
        TINY.steps,
        "--per_device_train_batch_size",
        TINY.batch,
        "--learning_rate",
        TINY.rate,
        "--output_dir",
        tmp_path / "images-run",
        "--data_path",
        tmp_path / "pairs.json",
        "--image_folder",
        tmp_path / "images",
        *schedule(TINY.steps),
    ]
    for command in (["-c", code], ["-m", "revision_plugin.hosts.launch", *map(str, flags)]):
        done = FORKS.run(command, environment=ENVIRONMENT, cwd=ROOT)
        assert done.returncode == 0, done.stderr[-2000:]
    store_losses, image_losses = (
        [
            e["loss"]
            for e in json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"]
            if "loss" in e
        ]
        for name in ("stage1", "images-run")
    )
    assert store_losses and store_losses == pytest.approx(image_losses, abs=2e-4)


@pytest.mark.slow
def test_the_script(tmp_path):
    out = tmp_path / "claims"
    command = [
        "-m",
        "scripts.claims",
        "--out",
        out,
        "--quick",
        "--seeds",
        "2",
        "--steps",
        "2",
        "--texts",
        "40",
        "--only",
        "paired",
        "--report",
        tmp_path / "docs",
    ]
    for _ in range(2):
        done = FORKS.run(command, environment=ENVIRONMENT, cwd=ROOT)
        assert done.returncode == 0, done.stderr[-2000:]
    assert "paired images (bound)" in (tmp_path / "docs" / PAGE).read_text()
