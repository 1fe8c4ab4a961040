"""`revision moments` and the fits that need no stored embeddings, as a user runs them."""

import json
import re

import numpy as np
import pytest
from conftest import ROOT, refuse, run, unit_rows, write_store

from revision_plugin.aligners import load_aligner
from revision_plugin.demo import corpus
from revision_plugin.demo import world as demo_world
from revision_plugin.embeddings import encode, encoded_rows


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    write_store(tmp_path / "texts", unit_rows(rng, 90, 8, shift=0.3))
    write_store(tmp_path / "images", unit_rows(rng, 70, 8, shift=-0.3), modality="image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def corpora(tmp_path, monkeypatch):
    scenes = demo_world.sample_scenes(14, seed=1, held_out=False)
    corpus.write_images(scenes, tmp_path / "pictures", seed=1)
    corpus.write_corpus(tmp_path / "texts.json", corpus.caption_records(scenes))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def same(first, second, tolerance=1e-12):
    first, second = load_aligner(first), load_aligner(second)
    assert first.parameters.keys() == second.parameters.keys() and first.method == second.method
    for name, value in first.parameters.items():
        np.testing.assert_allclose(second.parameters[name], value, rtol=0, atol=tolerance)


def test_what_it_prints_leads_to_the_aligner(folder, capsys):
    """Parts of an array job; then the commands as they are printed, with names put in."""
    for part in (1, 2, 3):
        run("moments", "texts", "--part", f"{part}/3", "--out", f"t{part}")
    run("moments", "images", "--rows", ":40", "--out", "i1")
    run("moments", "images", "--rows", "40:", "--out", "i2")
    assert "i2: image rows 40 to 70 of 70, 8 dimensions" in capsys.readouterr().out
    run("inspect", "i2")
    said = capsys.readouterr().out.splitlines()
    assert {"kind: moments of images, whole", "rows: 40 to 70 of 70", "dimension: 8", "encoder: test"} <= {*said}
    words = ["--option", "centroid_rounds=2", "--measure"]
    run("fit", "--merge", "t2", "i2", "t1", "i1", "t3", *words, "--out", "merged")
    for number in (2, 3, 4):
        printed = capsys.readouterr().out
        assert len(printed.splitlines()) == 1 and f"needs pass {number} over the source" in printed
        summing, merging = re.findall(r"'revision ([^']+)'", printed)
        assert not (folder / "merged").exists()
        run("inspect", re.search(r"--through (\S+)", summing)[1])
        said = capsys.readouterr().out.splitlines()
        assert {"method: realign", "source rows: 90", "target rows: 70", f"passes so far: {number - 1}"} <= {*said}
        run(*summing.replace("SOURCE", "texts").replace("FILE", f"m{number}").split())
        capsys.readouterr()
        run(*merging.replace("FILE...", f"m{number}").split())
    assert "not measured" not in capsys.readouterr().out
    run("fit", "--source", "texts", "--target", "images", *words[:2], "--held-out", "0", "--out", "whole")
    same("whole", "merged")
    reports = [json.loads((folder / name / "aligner.json").read_text()) for name in ("whole", "merged")]
    assert abs(reports[0]["centroid_gap"] - reports[1]["centroid_gap"]) < 1e-12
    assert reports[1]["encoder"] == reports[0]["encoder"] and reports[1]["held_out"] is None


def test_a_fit_straight_from_corpora_is_that_of_their_stores(corpora, capsys, monkeypatch):
    for module, name in ((encode, "CHUNK_ROWS"), (encoded_rows, "CHUNK_ROWS")):
        monkeypatch.setattr(module, name, 8)  # of the 14 items
    for flag, path, out in (("--texts", "texts.json", "t"), ("--images", "pictures", "i")):
        run("encode", "--encoder", "demo", flag, path, "--dtype", "float32", "--out", out)
    run("fit", "--source", "t", "--target", "i", "--held-out", "0", "--out", "stored")
    before = sorted(path.name for path in corpora.iterdir())
    capsys.readouterr()
    run("fit", "--encoder", "demo", "--source", "texts.json", "--target", "pictures", "--out", "made")
    logged = capsys.readouterr().err
    assert "texts.json: encoding pass 1 over 14 texts" in logged
    assert "texts.json: encoded in 3 pass(es)" in logged and "pictures: encoded in 1 pass(es)" in logged
    assert sorted(path.name for path in corpora.iterdir()) == sorted([*before, "made"]), "no embeddings are kept"
    same("stored", "made")
    run("fit", "--encoder", "demo", "--source", "texts.json", "--target", "i", "--out", "mixed")
    same("stored", "mixed")
    run("fit", "--encoder", "demo", "--source", "texts.json", "--refit-source", "stored", "--out", "refitted")
    same("stored", "refitted")
    run("moments", "texts.json", "--encoder", "demo", "--modality", "text", "--out", "sums")
    run("moments", "i", "--out", "other")
    run("fit", "--merge", "sums", "other", "--method", "mean_shift", "--out", "merged")
    run("fit", "--source", "t", "--target", "i", "--method", "mean_shift", "--out", "shifted")
    same("shifted", "merged")


def test_a_sampled_fit_prints_its_errors(folder, capsys):
    run("fit", "--source", "texts", "--target", "images", "--rows", "40", "--seed", "3", "--out", "drawn")
    printed = capsys.readouterr().out
    record = json.loads((folder / "drawn" / "aligner.json").read_text())
    assert record["source"]["count"] == record["target"]["count"] == 40
    assert f"gap before {record['sampled']['gap_error']:.2g}" in printed and "drawn from 90 and 70" in printed


def test_the_pages_commands(folder):
    """docs/moments.md, as an array of two tasks."""
    (block,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "moments.md").read_text(), re.S)
    for line in block.splitlines():
        words = line.split("#")[0].replace("$SLURM_ARRAY_TASK_COUNT", "2").split()
        for task in "12" if "$SLURM_ARRAY_TASK_ID" in line else " ":
            assert words[0] == "revision"
            run(*(word.replace("$SLURM_ARRAY_TASK_ID", task) for word in expanded(folder, words[1:])))
    run("fit", "--source", "texts", "--target", "images", "--held-out", "0", "--out", "whole")
    same("whole", "aligner")


def expanded(folder, words):
    """Words with their wildcards replaced, as a shell does."""
    for word in words:
        yield from [str(path) for path in folder.glob(word)] if "*" in word else [word]


@pytest.mark.parametrize(
    "words, message",
    [
        ("moments texts --rows 10:10 --out new", "--rows 10:10: write START:STOP, a range of rows within 0:90"),
        ("moments texts --rows 10:91 --out new", "--rows 10:91: write START:STOP"),
        ("moments texts --rows ten --out new", "--rows ten: write START:STOP"),
        ("moments texts --part 0/4 --out new", "--part 0/4: write I/N with I from 1 to N"),
        ("moments texts --part 1/100 --out new", "90 rows have no such part; take at most 90 parts"),
        ("moments texts --max-failures 3 --out new", "--max-failures is for corpora that are encoded; give --encoder"),
        ("moments mine.txt --encoder demo --out new", "say with --modality whether it holds texts or images"),
        ("moments texts --out images", "images: already exists"),
        ("moments texts --out nowhere/new", "nowhere: no such folder"),
        ("fit --merge s --source texts --out new", "--source: --merge has sums and no rows; leave it out"),
        ("fit --merge s --rows 5 --out new", "--rows: --merge has sums and no rows"),
        ("fit --merge s --method auto --out new", "auto compares methods on rows; name one of"),
        ("fit --merge s --out new", "s: no such file"),
        ("fit --merge texts/manifest.json --out new", "manifest.json: not a whole safetensors file"),
        ("fit --source texts --target images --measure --out new", "--measure: is for --merge"),
        ("fit --target images --out new", "the following arguments are required: --source"),
        ("fit --source texts --target images --batch-size 2 --out new", "--batch-size is for corpora that are encoded"),
        ("fit --source texts --target images --rows 1 --out new", "at least 2 is needed, not 1"),
        ("fit --source texts --target images --rows 9 --matched --out new", "--rows: --matched draws no rows"),
        ("fit --source a --target b --encoder demo --method auto --out new", "--encoder: auto reads rows in any order"),
        (
            "fit --source a --target b --encoder demo --method monge --option covariance_rows=9 --out new",
            "'monge' with these options reads rows in any order; encode both corpora",
        ),
        ("fit --source mine.txt --target images --encoder demo --view whole --out new", "leave --view out"),
    ],
)
def test_bad_input_is_one_line(folder, capsys, words, message):
    (folder / "mine.txt").write_text("a dog\na cat\n")
    assert message in refuse(capsys, *words.split())
    assert not (folder / "new").exists()
