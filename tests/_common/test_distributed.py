"""Fitting under torchrun: the same aligner as one process, and one process' failure stops all."""

import json
import os
import subprocess

import numpy as np
import pytest
from conftest import FORKS, ROOT, torchrun, unit_rows, write_store

from revision_plugin.aligners import load_aligner
from revision_plugin.cli import main

SMALL_SPANS = (
    "import revision_plugin.embeddings.moments as m; m.SPAN_BYTES = 8 * 24 * 70; from "
    "revision_plugin.cli import main; main()"
)


@pytest.fixture
def stores(tmp_path, rng):
    write_store(tmp_path / "t", unit_rows(rng, 1000, 24, shift=0.3), dtype="float16", chunk=300)
    write_store(tmp_path / "i", unit_rows(rng, 800, 24, shift=-0.4), modality="image", dtype="float16")
    return tmp_path


def fit_in_two(folder, *arguments):
    """`revision fit` in two processes, with spans so small that both have some."""
    script = folder / "small_spans.py"
    script.write_text(SMALL_SPANS)
    return subprocess.run(torchrun(script, "fit", *arguments), capture_output=True, text=True, cwd=ROOT, timeout=300)


LEARNT = ("recentre", "prior_losses", "strength")  # by AnisoAlign's trainings, which sums of another order move


@pytest.mark.slow
@pytest.mark.parametrize(
    "method, options",
    [("realign", ["centroid_rounds=2"]), ("bc", []), ("monge", ["energy=0.9"]), ("aniso", ["steps=5"]), ("c3", [])],
)
def test_two_processes_fit_the_same_aligner(stores, method, options, monkeypatch):
    arguments = ["--source", stores / "t", "--target", stores / "i", "--method", method]
    arguments += [word for option in options for word in ("--option", option)]
    done = fit_in_two(stores, *arguments, "--out", stores / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fitted on") == 1
    main([str(a) for a in ["fit", *arguments, "--out", stores / "one"]])
    one, two = load_aligner(stores / "one"), load_aligner(stores / "two")
    closed_form = [name for name in one.parameters if not name.startswith("g.") and name not in LEARNT]
    for name in closed_form if method == "aniso" else one.parameters:
        np.testing.assert_allclose(two.parameters[name], one.parameters[name], atol=1e-12, err_msg=name)
    assert two.report.centroid_gap == pytest.approx(one.report.centroid_gap, abs=1e-6)  # C3's with its noise
    assert two.report.held_out.centroid_gap == pytest.approx(one.report.held_out.centroid_gap, abs=1e-6)


@pytest.mark.slow
def test_an_unusable_row_of_one_process_stops_both(stores, rng, monkeypatch):
    rows = unit_rows(rng, 1000, 24)
    rows[75] = np.nan  # in the second span, so the second process meets it
    monkeypatch.setattr("revision_plugin.embeddings.writer.StoreWriter._check", lambda *a: None)
    write_store(stores / "bad", rows)
    done = fit_in_two(stores, "--source", stores / "bad", "--target", stores / "i", "--out", stores / "a")
    assert done.returncode != 0 and "embedding row 75 holds NaN" in done.stderr
    assert not (stores / "a").exists()


SMALL_CHUNKS = (
    "import revision_plugin.embeddings.encode as e; e.CHUNK_ROWS = 10; from revision_plugin.cli import main; main()"
)


@pytest.mark.slow
def test_two_processes_encode_the_same_store(world_files, tmp_path):
    """The content hash does not depend on the number of processes, nor on what an earlier, killed run had done."""
    from revision_plugin.embeddings.store import Store

    script = tmp_path / "small_chunks.py"
    script.write_text(SMALL_CHUNKS)
    encoding = ["encode", "--encoder", "demo", "--rows-per-shard", 20]
    texts = [*encoding, "--texts", world_files / "texts.json", "--out"]
    images = [*encoding, "--images", world_files / "images", "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def encode(command, out, launch):
        done = launch([script, *command, out], environment=environment, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("embeddings of dimension 192") == 1
        return Store.open(out)

    for name, command in (("texts", texts), ("images", images)):
        one = encode(command, tmp_path / f"{name}-one", FORKS.run)
        two = encode(command, tmp_path / f"{name}-two", FORKS.run_together)
        two.verify()
        assert two.manifest == one.manifest and two.manifest.shard_rows[0] == 20 and len(two.manifest.shards) > 1
    corpus = json.loads((world_files / "texts.json").read_text())
    corpus[35]["conversations"][1]["value"] = "  "
    (tmp_path / "broken.json").write_text(json.dumps(corpus))
    command = ["encode", "--encoder", "demo", "--texts", tmp_path / "broken.json", "--out", tmp_path / "broken"]
    done = FORKS.run_together([script, *command], environment=environment, cwd=ROOT)
    assert (
        done.returncode != 0
        and "1 unusable item(s), first '000035'" in done.stderr
        and not (tmp_path / "broken").exists()
    )
    done = FORKS.run_together([script, *command, "--max-failures", 1], environment=environment, cwd=ROOT)
    assert done.returncode == 0 and len(Store.open(tmp_path / "broken")) == len(corpus) - 1
