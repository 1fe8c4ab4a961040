"""`hf:OWNER/NAME@COMMIT` in place of folders on disk, against the stand-in of the hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, FLAGS, ROOT, STEPS, projector, refuse, run, stage1_flags, train
from hub_server import READ_TOKEN, TOKEN

from revision_plugin import ReAlign, Store, load_aligner
from revision_plugin._common.shared_folders import shown_name
from revision_plugin.embeddings.store import is_store
from revision_plugin.errors import RevisionError
from revision_plugin.hosts import run_record

NO_COMMIT = "0" * 40


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def shared(hub, stores):
    """The small corpus' artefacts in the hub: their names by kind."""
    kinds = {"realign": "model", "texts": "dataset", "images": "dataset"}
    return {
        name: f"hf:me/{name}@{hub.put(kind, f'me/{name}', files_of(stores / name))}" for name, kind in kinds.items()
    }


def test_a_pushed_aligner_and_store_serve_every_command_with_equal_bytes(hub, stores, tmp_path):
    """In a process of its own, which knows the hub by its environment alone."""
    script = f"""
import contextlib, io
from revision_plugin.cli import main

def printed(*words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main([*words])
    return out.getvalue().splitlines()[-1]

aligner = printed("export", "--aligner", r"{stores / "realign"}", "--out", "a", "--push", "me/aligner")
texts = printed("export", "--store", r"{stores / "texts"}", "--out", "t", "--push", "me/texts", "--public")
printed("apply", "--aligner", aligner, "--source", texts, "--out", "aligned")
print(aligner)
print(texts)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **hub.environment, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    names = done.stdout.splitlines()
    repositories = {
        name: hub.repositories[key] for name, key in zip(names, [("model", "me/aligner"), ("dataset", "me/texts")])
    }
    assert all(name.endswith(f"@{repository.head}") for name, repository in repositories.items())
    assert [repository.private for repository in repositories.values()] == [True, False]
    run("apply", "--aligner", stores / "realign", "--source", stores / "texts", "--out", tmp_path / "local")
    local, remote = (Store.open(tmp_path / name) for name in ("local", "aligned"))
    assert remote.manifest == local.manifest
    assert files_of(tmp_path / "aligned") == files_of(tmp_path / "local")
    assert TOKEN not in done.stdout + done.stderr


def test_fit_refit_geometry_and_inspect_take_names_in_the_hub(shared, stores, tmp_path, capsys):
    run("fit", "--source", shared["texts"], "--target", shared["images"], "--out", tmp_path / "fitted")
    assert load_aligner(tmp_path / "fitted").identity == load_aligner(stores / "realign").identity
    run("fit", "--refit-source", shared["realign"], "--source", shared["texts"], "--out", tmp_path / "refitted")
    assert load_aligner(tmp_path / "refitted").identity == load_aligner(stores / "realign").identity
    corpora = ("--source", shared["texts"], "--target", shared["images"])
    run("geometry", *corpora, "--aligner", shared["realign"], "--out", tmp_path / "geometry")
    commit = shared["realign"].rpartition("@")[2]
    assert f"realign@{commit[:8]}: centroid gap" in capsys.readouterr().out
    for name in ("realign", "images"):
        said = []
        for place in (shared[name], stores / name):
            run("inspect", place)
            said.append(capsys.readouterr().out)
        assert said[0] == said[1] and "whole" in said[0]


def test_python_takes_names_in_the_hub(shared, stores):
    opened = Store.open(shared["texts"])
    opened.verify()
    assert opened.manifest == Store.open(stores / "texts").manifest and is_store(shared["texts"])
    fitted = ReAlign().fit(shared["texts"], shared["images"])
    assert fitted.identity == load_aligner(shared["realign"]).identity == load_aligner(stores / "realign").identity


def test_a_training_keeps_the_same_content_hashes_as_for_folders(shared, stores, tmp_path):
    def inputs(texts, aligner, images, out):
        flags = {
            "--data_path": texts,
            "--revision_store": texts,
            "--revision_image_store": images,
            "--revision_aligner": aligner,
            "--revision_part_aligner": aligner,
        }
        run_record.begin(out, [str(word) for pair in flags.items() for word in pair])
        return json.loads((out / "run.json").read_text())["inputs"]

    remote = inputs(shared["texts"], shared["realign"], shared["images"], tmp_path / "remote")
    local = inputs(stores / "texts", stores / "realign", stores / "images", tmp_path / "local")
    assert remote == local and None not in remote.values()
    assert remote["--data_path"] == Store.open(stores / "texts").manifest.content_hash


@pytest.mark.slow
def test_a_training_from_the_hub_ends_with_equal_weights(hub, shared, stores, tiny_llm, tmp_path):
    train(tmp_path / "local", tiny_llm, *stage1_flags(stores))
    flags = dict(zip(*[iter(stage1_flags(stores))] * 2)) | {
        "--data_path": shared["texts"],
        "--revision_aligner": shared["realign"],
    }
    tower = ["--vision_tower", "revision", "--revision_encoder", "demo"]
    places = ["--model_name_or_path", tiny_llm, "--output_dir", tmp_path / "remote", "--max_steps", STEPS]
    words = [ROOT / "scripts" / "train.py", *FLAGS, *tower, *places, *(word for pair in flags.items() for word in pair)]
    environment = {
        **ENVIRONMENT,
        **hub.environment,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    local, remote = (projector(tmp_path / name) for name in ("local", "remote"))
    assert local.keys() == remote.keys() and all((local[name] == remote[name]).all() for name in local)


@pytest.mark.parametrize(
    "name",
    [
        "hf:me/realign",
        "hf:me/realign@main",
        "hf:me/realign@v1.0",
        "hf:me/realign@" + "a" * 39,
        "hf:me/realign@" + "A" * 40,
        "hf:realign@" + "a" * 40,
        "hf:me/realign/more@" + "a" * 40,
        "hf:../../etc@" + "a" * 40,
    ],
)
def test_a_name_without_a_commit_is_refused_before_anybody_is_asked(hub, name):
    with pytest.raises(
        RevisionError, match=r"names no commit in the hub; write hf:OWNER/NAME@COMMIT with all 40 digits"
    ):
        load_aligner(name)
    with pytest.raises(RevisionError, match="names no commit"):
        Store.open(name)
    assert hub.requests == []


ALIGNER_FAULTS = {
    "unknown token": (401, "the hub does not know the token (401); log in again"),
    "forbidden": (403, "the hub forbids it (403)"),
    "missing": (404, "the hub refuses it (404"),
    "trouble": (500, "the hub has trouble of its own (500); repeat the command later"),
}


@pytest.mark.parametrize("where", ["GET /api/models/.*/(tree|revision)/", "/resolve/"], ids=["list", "file"])
@pytest.mark.parametrize("fault", ALIGNER_FAULTS)
def test_what_the_hub_refuses_is_one_line(hub, shared, stores, tmp_path, capsys, fault, where):
    status, says = ALIGNER_FAULTS[fault]
    words = ("apply", "--aligner", shared["realign"], "--source", stores / "texts", "--out", tmp_path / "new")
    with hub.fault(where, status):
        line = refuse(capsys, *words)
    if status != 401:  # which the hub also says of what does not exist
        assert says in line
    assert line.startswith(f"error: {shared['realign']}: the hub") and TOKEN not in line
    assert not (tmp_path / "new").exists()
    run(*words)


def test_what_is_not_there_is_named(hub, shared, monkeypatch):
    commit = shared["realign"].rpartition("@")[2]
    with pytest.raises(RevisionError, match="has no model repository of that name, or none that you may see"):
        load_aligner(f"hf:me/nothing@{commit}")
    with pytest.raises(RevisionError, match="the model repository has no such commit; copy one from its history"):
        load_aligner(f"hf:me/realign@{NO_COMMIT}")
    with pytest.raises(RevisionError, match="has no dataset repository of that name"):
        Store.open(shared["realign"])
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
    with pytest.raises(RevisionError, match="does not know the token"):
        load_aligner(shared["realign"])
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(RevisionError, match=r"or none that you may see \(401\).*hf auth login"):
        load_aligner(shared["realign"])
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    assert load_aligner(shared["realign"]).dim == 192


def test_inspect_says_of_both_kinds_why_there_is_none(hub, capsys):
    missing = f"hf:me/nothing@{NO_COMMIT}"
    line = refuse(capsys, "inspect", missing)
    assert "as an aligner, the hub has no model repository" in line and "as a store, the hub has no dataset" in line
    commit = hub.put("dataset", "me/other", {"README.md": b"else"})
    assert "holds no manifest.json, so is no embedding store" in refuse(capsys, "inspect", f"hf:me/other@{commit}")


def test_a_hub_that_is_out_of_reach_and_the_cache(hub, shared):
    hub.set_offline(True)
    with pytest.raises(RevisionError, match="not whole in the hub's cache, and HF_HUB_OFFLINE is set; unset it"):
        load_aligner(shared["realign"])
    assert hub.requests == []
    hub.set_offline(False)
    load_aligner(shared["realign"])
    asked = len(hub.requests)
    hub.set_offline(True)
    assert load_aligner(shared["realign"]).method == "realign" and len(hub.requests) == asked
    hub.set_offline(False)
    hub.close()
    assert load_aligner(shared["realign"]).method == "realign"  # a commit does not change
    with pytest.raises(RevisionError, match=r"the hub cannot be reached, or broke off \(Connect.*check the network"):
        Store.open(shared["texts"])


def test_a_download_that_is_cut_is_resumed_or_refused(hub, shared, stores):
    aligner = None
    with hub.fault("GET .*safetensors", cut="broken", times=2):
        while aligner is None:  # some clients resume by themselves, some when they are called again
            try:
                aligner = load_aligner(shared["realign"])
            except RevisionError as error:
                assert "or broke off" in str(error)
    assert aligner.identity == load_aligner(stores / "realign").identity
    with hub.fault(r"GET .*\.arrow", cut="short"):
        with pytest.raises(RevisionError, match="the hub cannot be reached, or broke off .*Consistency check failed"):
            Store.open(shared["texts"])
    Store.open(shared["texts"]).verify()


def test_nothing_but_the_kinds_own_files_is_downloaded(hub, stores):
    more = {"evil.pkl": b"cos\nsystem\n", "pytorch_model.bin": b"x", "code/modeling.py": b"raise SystemExit"}
    aligner = hub.put("model", "me/more", {**files_of(stores / "realign"), **more})
    store = hub.put("dataset", "me/more", {**files_of(stores / "texts"), **more})
    assert load_aligner(f"hf:me/more@{aligner}").path.is_dir()
    Store.open(f"hf:me/more@{store}").verify()
    loaded = {line.rpartition("/")[2] for line in hub.requests if "/resolve/" in line}
    assert loaded == {
        "aligner.json",
        "aligner.safetensors",
        "manifest.json",
        *Store.open(stores / "texts").manifest.shards,
    }


def test_a_repository_that_holds_something_else_or_is_damaged(hub, stores):
    other = hub.put("model", "me/other", {"config.json": b"{}", "model.safetensors": b"x"})
    with pytest.raises(RevisionError, match=rf"hf:me/other@{other}: holds no aligner.json, so is no aligner"):
        load_aligner(f"hf:me/other@{other}")
    files = files_of(stores / "realign")
    cut = hub.put("model", "me/cut", {**files, "aligner.safetensors": files["aligner.safetensors"][:-8]})
    with pytest.raises(RevisionError, match=r"aligner.safetensors: missing, cut or edited"):
        load_aligner(f"hf:me/cut@{cut}")
    files = files_of(stores / "texts")
    (shard,) = Store.open(stores / "texts").manifest.shards
    del files[shard]
    lost = hub.put("dataset", "me/lost", files)
    with pytest.raises(RevisionError, match=rf"{shard}: shard is missing"):
        Store.open(f"hf:me/lost@{lost}")


def test_a_full_disk_under_the_cache(hub, shared, monkeypatch, tmp_path):
    from huggingface_hub import constants

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(RevisionError, match=r"file.*: Not a directory; mend that"):
        load_aligner(shared["realign"])


def test_names_in_reports(tmp_path):
    assert shown_name(tmp_path / "realign") == "realign"
    assert shown_name(Path("hf:me/realign@" + "ab" * 20)) == "realign@abababab"
