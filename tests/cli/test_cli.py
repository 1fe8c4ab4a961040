"""The commands as a user runs them: what they write, and one clear line for bad input."""

import json

import numpy as np
import pytest
from conftest import refuse, run, unit_rows, write_store
from PIL import Image

from revision_plugin.aligners import ALIGNERS, load_aligner
from revision_plugin.cli import doctor
from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.writer import StoreWriter

TEXTS = ["a dog top-left on a red background", "a cat on a blue background", "a fish and a whale"]


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n")
    return path


@pytest.fixture
def pictures(tmp_path, rng):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("b.png", "a.png"):
        Image.fromarray(rng.integers(0, 255, (50, 40, 3), np.uint8)).save(folder / name)
    return folder


def test_the_flow_of_commands(tmp_path, texts, pictures, capsys):
    run("encode", "--encoder", "demo", "--texts", texts, "--out", tmp_path / "t")
    run("encode", "--encoder", "demo", "--images", pictures, "--out", tmp_path / "i", "--dtype", "float32")
    store, images = Store.open(tmp_path / "t"), Store.open(tmp_path / "i")
    assert [store.row(i)["text"] for i in range(3)] == TEXTS and images.ids() == ["a.png", "b.png"]
    from revision_plugin.encoders import load_encoder

    reference = load_encoder("demo").encode_texts(TEXTS).numpy()
    np.testing.assert_allclose(np.concatenate(list(store.blocks())), reference, atol=1e-3)
    run(
        "fit",
        "--source",
        tmp_path / "t",
        "--target",
        tmp_path / "i",
        "--method",
        "realign",
        "--option",
        "centroid_rounds=2",
        "--out",
        tmp_path / "a",
    )
    assert json.loads((tmp_path / "a" / "aligner.json").read_text())["options"] == {"centroid_rounds": 2}
    run(
        "apply",
        "--aligner",
        tmp_path / "a",
        "--source",
        tmp_path / "t",
        "--out",
        tmp_path / "aligned",
        "--dtype",
        "float32",
    )
    aligned = Store.open(tmp_path / "aligned")
    assert aligned.ids() == store.ids() and aligned.manifest.aligner["method"] == "realign"
    capsys.readouterr()
    for name, word in (("t", "text store, whole"), ("i", "image store, whole"), ("a", "aligner, whole")):
        run("inspect", tmp_path / name)
        assert word in capsys.readouterr().out
    assert "already aligned" in refuse(
        capsys, "apply", "--aligner", tmp_path / "a", "--source", tmp_path / "aligned", "--out", tmp_path / "x"
    )
    assert "image store" in refuse(
        capsys, "apply", "--aligner", tmp_path / "a", "--source", tmp_path / "i", "--out", tmp_path / "x"
    )


@pytest.mark.parametrize(
    "content, suffix, message",
    [
        (b"", "txt", "holds no text"),
        (b"[]", "json", "holds no text"),
        (b'[{"id": 1, "image": "x.png"}]', "json", "'1': has no caption"),
        (b'[{"id": 1, "text": "a"}, {"id": 1, "text": "b"}]', "json", "id '1' occurs more than once"),
        (b"one\n\ntwo\n", "txt", "1 unusable item(s), first '1': has no caption"),
        (b"[1,", "json", "not valid JSON"),
    ],
)
def test_bad_corpora(tmp_path, capsys, content, suffix, message):
    path = tmp_path / f"c.{suffix}"
    path.write_bytes(content)
    assert message in refuse(capsys, "encode", "--encoder", "demo", "--texts", path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_stated_budget_covers_failures_and_lists_them(tmp_path, pictures, capsys):
    (pictures / "c.png").write_bytes((pictures / "a.png").read_bytes()[:200])
    line = refuse(capsys, "encode", "--encoder", "demo", "--images", pictures, "--out", tmp_path / "out")
    assert "c.png" in line and "does not decode" in line and "--max-failures 1" in line
    assert not (tmp_path / "out").exists()
    run("encode", "--encoder", "demo", "--images", pictures, "--out", tmp_path / "out", "--max-failures", "1")
    store = Store.open(tmp_path / "out")
    assert store.ids() == ["a.png", "b.png"] and store.manifest.failures == 1
    assert json.loads((tmp_path / "out" / "failures.jsonl").read_text())["id"] == "c.png"


def test_missing_things(tmp_path, texts, capsys):
    assert "no such file" in refuse(
        capsys, "encode", "--encoder", "demo", "--texts", tmp_path / "no.txt", "--out", tmp_path / "out"
    )
    assert "no such embedding store" in refuse(
        capsys, "fit", "--source", tmp_path / "x", "--target", tmp_path / "y", "--out", tmp_path / "a"
    )
    assert "unknown encoder 'dem'" in refuse(
        capsys, "encode", "--encoder", "dem", "--texts", texts, "--out", tmp_path / "out"
    )
    assert "no embedding store, aligner, checkpoint or file of moments" in refuse(capsys, "inspect", tmp_path)
    assert "no config.json" in refuse(capsys, "ask", "--model", tmp_path, "--image", _picture(tmp_path), "what?")
    assert "no such file" in refuse(capsys, "ask", "--model", tmp_path, "--image", tmp_path / "no.png", "what?")


def _picture(folder):
    Image.new("RGB", (8, 8)).save(folder / "p.png")
    return folder / "p.png"


def test_occupied_outputs_are_left_alone(tmp_path, texts, capsys):
    run("encode", "--encoder", "demo", "--texts", texts, "--out", tmp_path / "t")
    before = Store.open(tmp_path / "t").manifest
    assert "already exists" in refuse(capsys, "encode", "--encoder", "demo", "--texts", texts, "--out", tmp_path / "t")
    assert "already exists" in refuse(
        capsys, "fit", "--source", tmp_path / "t", "--target", tmp_path / "t", "--out", tmp_path / "t"
    )
    assert Store.open(tmp_path / "t").manifest == before


def test_fit_refuses_what_does_not_fit(tmp_path, rng, capsys):
    write_store(tmp_path / "t", unit_rows(rng, 20, 8))
    write_store(tmp_path / "small", unit_rows(rng, 20, 6), modality="image")
    write_store(
        tmp_path / "other", unit_rows(rng, 20, 8), modality="image", encoder={"spec": "clip", "fingerprint": "1" * 64}
    )
    write_store(tmp_path / "i", unit_rows(rng, 20, 8), modality="image")
    write_store(tmp_path / "one", unit_rows(rng, 1, 8), modality="image")

    def fit(*flags, target="i"):
        return refuse(
            capsys, "fit", "--source", tmp_path / "t", "--target", tmp_path / target, "--out", tmp_path / "a", *flags
        )

    assert "differ in dimension: 8 and 6" in fit(target="small")
    assert "different encoders ('test' and 'clip')" in fit(target="other")
    assert "1 row(s)" in fit(target="one")
    assert "did you mean 'realign'" in fit("--method", "relign")
    assert "write NAME=VALUE" in fit("--option", "rounds")
    assert not (tmp_path / "a").exists()


def test_apply_refuses_another_encoders_store(tmp_path, rng, capsys):
    write_store(tmp_path / "t", unit_rows(rng, 20, 8))
    write_store(tmp_path / "i", unit_rows(rng, 20, 8), modality="image")
    write_store(tmp_path / "foreign", unit_rows(rng, 20, 8), encoder={"spec": "clip", "fingerprint": "1" * 64})
    run("fit", "--source", tmp_path / "t", "--target", tmp_path / "i", "--out", tmp_path / "a")
    line = refuse(
        capsys, "apply", "--aligner", tmp_path / "a", "--source", tmp_path / "foreign", "--out", tmp_path / "x"
    )
    assert "fitted for another encoder ('test' and 'clip')" in line
    assert not (tmp_path / "x").exists() and not (tmp_path / "x.partial").exists()


@pytest.mark.parametrize(
    "value, message",
    [(np.nan, "holds NaN"), (np.inf, "infinity"), (0.0, "is zero"), (1.0, "has norm 2.828, but its store")],
)
def test_damaged_rows_stop_fit(tmp_path, rng, capsys, value, message, monkeypatch):
    """A store whose writer did not check: the reader still does."""
    rows = unit_rows(rng, 20, 8)
    rows[7] = value
    monkeypatch.setattr("revision_plugin.embeddings.writer.StoreWriter._check", lambda *a: None)
    write_store(tmp_path / "t", rows)
    write_store(tmp_path / "i", unit_rows(rng, 20, 8), modality="image")
    line = refuse(capsys, "fit", "--source", tmp_path / "t", "--target", tmp_path / "i", "--out", tmp_path / "a")
    assert f"embedding row 7 {message}" in line or (value == np.inf and "embedding row 7 holds NaN or infinity" in line)
    assert not (tmp_path / "a").exists()


def test_fit_refuses_one_store_as_both_and_passes_over_empty_shards(tmp_path, rng, capsys):
    rows = unit_rows(rng, 40, 8)
    write_store(tmp_path / "t", rows)
    line = refuse(capsys, "fit", "--source", tmp_path / "t", "--target", tmp_path / "t", "--out", tmp_path / "a")
    assert "is a store of texts; the target must be one of images" in line and not (tmp_path / "a").exists()
    writer = StoreWriter(
        tmp_path / "gaps",
        modality="image",
        encoder={"spec": "test", "fingerprint": "0" * 64},
        dim=8,
        dtype="float32",
        request={},
    )
    for chunk, part in enumerate((rows[:0], rows[:15], rows[:0], rows[15:] @ np.diag([1, -1] * 4))):
        writer.write_chunk(chunk, [f"{chunk}-{i}" for i in range(len(part))], part)
    writer.finish(4)
    run("fit", "--source", tmp_path / "t", "--target", tmp_path / "gaps", "--out", tmp_path / "a")
    expected_mean = np.concatenate([rows[:15], rows[15:] @ np.diag([1, -1] * 4)]).astype(np.float32).mean(0)
    np.testing.assert_allclose(load_aligner(tmp_path / "a").parameters["target_mean"], expected_mean, atol=1e-6)


@pytest.mark.parametrize("share", ["-0.1", "0.6"])
def test_fit_refuses_an_impossible_held_out_share(tmp_path, rng, capsys, share):
    write_store(tmp_path / "t", unit_rows(rng, 20, 8))
    write_store(tmp_path / "i", unit_rows(rng, 20, 8), modality="image")
    common = ("fit", "--source", tmp_path / "t", "--target", tmp_path / "i", "--out", tmp_path / "a")
    assert "a number from 0 to 0.5 is needed" in refuse(capsys, *common, f"--held-out={share}")


def test_an_unwritable_output_is_one_line(tmp_path, texts, capsys):
    (tmp_path / "file").write_text("x")
    assert "cannot be created" in refuse(
        capsys, "encode", "--encoder", "demo", "--texts", texts, "--out", tmp_path / "file" / "out"
    )


def test_doctor_names_hosts_and_bindings(capsys):
    run("doctor")
    out = capsys.readouterr().out
    assert "host llava: 1.2.2" in out and "holds: llava.model.llava_arch.build_vision_tower and" in out
    assert "  fails: " not in out and "all probes hold" in out


def test_doctor_names_the_probe_that_fails(capsys, monkeypatch):
    """A symbol that is gone and a parameter that is no longer taken, in whatever version is installed."""
    broken = (
        "from transformers import Trainer, trainer\n"
        "del trainer.deepspeed_load_checkpoint\n"
        "Trainer._save_checkpoint = lambda self, checkpoint: None\n"
    )
    monkeypatch.setattr(doctor, "EXAMINE", broken + doctor.EXAMINE)
    with pytest.raises(SystemExit) as stopped:
        run("doctor")
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and err.startswith("error: host hf: ") and len(err.splitlines()) == 1
    assert "; host llava: " in err, "a symbol that both need"
    assert "LLaVATrainer._save_checkpoint is not what" in err and "no longer takes 'model'" in err
    assert "deepspeed_load_checkpoint is not what" in err
    assert out.count("  fails: ") == 3 and out.count("  holds: ") > 20


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        run("--help")
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("encode", "fit", "apply", "inspect", "doctor", "ask", "quickstart"))


def test_aligner_names_are_listed():
    assert {"none", "realign"} <= set(ALIGNERS.names())
