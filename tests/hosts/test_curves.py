"""Trackers, the probe of real images and the pace of a training, in the real hosts."""

import contextlib
import json
import math
import signal
import sqlite3

import numpy as np
import pytest
import torch
from conftest import ENVIRONMENT, ROOT, projector, stage1_flags, torchrun, train
from interruptions import finish, start, stop_after_checkpoint
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer

from revision_plugin.embeddings.store import Store
from revision_plugin.hosts import find_host

pytestmark = pytest.mark.slow
HOSTS = ("llava", "hf")
# an address that nobody answers
NO_NETWORK = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY")}
ROWS, BATCH, TOKENS = 7, 60, 3  # BATCH: all texts of the store in each step


def history(out):
    return json.loads((out / "trainer_state.json").read_text())["log_history"]


def curve(out, name):
    return {entry["step"]: entry[name] for entry in history(out) if name in entry}


def weights(out, host):
    return projector(out) if host == "llava" else load_file(out / "model.safetensors")


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def probe_flags(world_files):
    images = ("--revision_probe_images", world_files / "images")
    return ("--revision_probe", world_files / "paired.json", *images, "--revision_probe_rows", ROWS)


def drawn(folder):
    """tensorboard's curves under a folder: by name a list of (step, value)."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder)).Reload()
    return {name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()["scalars"]}


@pytest.fixture(scope="module", params=HOSTS)
def watched(request, stores, world_files, tiny_llm, tmp_path_factory):
    """A host's Stage 1 with tensorboard and the probe, and the same without either."""
    pytest.importorskip("tensorboard")
    root = tmp_path_factory.mktemp(request.param)
    flags = (*stage1_flags(stores), "--host", request.param, "--revision_tokens", TOKENS)
    flags = (*flags, "--per_device_train_batch_size", BATCH, "--save_strategy", "no")
    train(root / "plain", tiny_llm, *flags)
    seen = ("--report_to", "tensorboard", *probe_flags(world_files), "--revision_probe_steps", 3)
    train(root / "watched", tiny_llm, *flags, *seen, "--disable_tqdm", "True")
    return request.param, root


def test_probe_changes_nothing(watched):
    host, root = watched
    assert_equal(weights(root / "watched", host), weights(root / "plain", host))
    assert curve(root / "watched", "loss") == curve(root / "plain", "loss")


def test_tensorboard_draws_the_log(watched):
    _, root = watched
    (folder,) = (root / "watched" / "runs").iterdir()
    assert folder.name == json.loads((root / "watched" / "run.json").read_text())["run_name"]
    found = drawn(folder)
    assert not (root / "plain" / "runs").exists()
    for name in ("loss", "learning_rate", "probe_loss", "probe_loss_error", "tokens_per_second", "peak_memory_gib"):
        logged = curve(root / "watched", name)
        assert logged and [step for step, _ in found[f"train/{name}"]] == list(logged), name
        assert [value for _, value in found[f"train/{name}"]] == pytest.approx(list(logged.values())), name
    assert list(curve(root / "watched", "probe_loss")) == [0, 3, 4], "at the start, every three steps, at the end"


def test_probe_is_the_loss_given_images(watched, world_files, tiny_llm):
    """The assistant, which opens the checkpoint and encodes the images itself, measures the same."""
    host, root = watched
    out = root / "watched"
    assistant = find_host(model=out).load(str(out), base=str(tiny_llm) if host == "llava" else None)
    records = json.loads((world_files / "paired.json").read_text())
    chosen = [records[place * len(records) // ROWS] for place in range(ROWS)]
    captions = [record["conversations"][1]["value"] for record in chosen]
    pictures = [Image.open(world_files / "images" / record["image"]).convert("RGB") for record in chosen]
    pixels = assistant.image_processor.preprocess(pictures)["pixel_values"]
    each = assistant.likelihood(pixels, captions)
    tokens = np.array([len(assistant.tokenizer(f"{text}\n", add_special_tokens=False).input_ids) for text in captions])
    nats = each * tokens
    expected = nats.sum() / tokens.sum()
    last = next(entry for entry in reversed(history(out)) if "probe_loss" in entry)
    assert last["probe_loss"] == pytest.approx(expected, abs=1e-5) and last["probe_rows"] == ROWS
    residuals = nats - expected * tokens
    error = math.sqrt(ROWS * residuals.var(ddof=1)) / tokens.sum()
    assert last["probe_loss_error"] == pytest.approx(error, rel=1e-3) and len(set(tokens)) > 1


def test_pace_counts_what_is_read(watched, stores, tiny_llm):
    """Tokens a sample: the first token, the visual ones and the text's with its end."""
    _, root = watched
    tokenizer, store = AutoTokenizer.from_pretrained(tiny_llm), Store.open(stores / "texts")
    texts = [store.row(index)["text"] for index in range(len(store))]
    assert len(texts) == BATCH
    counts = [1 + TOKENS + len(tokenizer(f"{text}\n", add_special_tokens=False).input_ids) for text in texts]
    entries = [entry for entry in history(root / "watched") if "loss" in entry]
    for entry in entries:
        ratio = entry["tokens_per_second"] / entry["samples_per_second"]
        assert ratio == pytest.approx(sum(counts) / BATCH, rel=1e-3)
        assert 0.1 < entry["peak_memory_gib"] < 64
    left = [entry["seconds_left"] for entry in entries]  # whole seconds: a small training may have none left
    assert all(each >= 0 for each in left) and left[-1] == 0
    plain = [entry for entry in history(root / "plain") if "loss" in entry]
    assert all("tokens_per_second" in entry and "seconds_left" not in entry for entry in plain), "the bar says it"


def test_all_trackers_resume(stores, tiny_llm, tmp_path, monkeypatch):
    """After a kill all three draw on in one run and ask no network; the result is that of a training without them."""
    for library in ("tensorboard", "wandb", "trackio"):
        pytest.importorskip(library)
    for name, value in {"WANDB_MODE": "offline", "TRACKIO_DIR": str(tmp_path / "trackio"), **NO_NETWORK}.items():
        monkeypatch.setitem(ENVIRONMENT, name, value)
    flags = (*stage1_flags(stores), "--host", "hf")
    sizes = {"steps": 60, "every": 12}
    finish(start(tmp_path / "whole", tiny_llm, *flags, **sizes), tmp_path / "whole")
    out = tmp_path / "cut"
    stop_after_checkpoint(start(out, tiny_llm, *flags, "--report_to", "all", **sizes), out, signal.SIGKILL)
    record = json.loads((out / "run.json").read_text())
    finish(start(out, tiny_llm, *flags, "--report_to", "all", **sizes), out)
    assert_equal(weights(out, "hf"), weights(tmp_path / "whole", "hf"))
    assert curve(out, "loss") == curve(tmp_path / "whole", "loss")
    name = json.loads((out / "run.json").read_text())["run_name"]
    assert name == record["run_name"]
    (folder,) = (out / "runs").iterdir()
    logged = curve(out, "loss")
    found = drawn(folder)["train/loss"]
    assert [step for step, _ in found] == list(logged), "each step once"
    assert [value for _, value in found] == pytest.approx(list(logged.values()))
    runs = [each.name for each in (out / "wandb").glob("offline-run-*")]
    assert len(runs) == 2 and all(each.endswith(name) for each in runs), "one id, which 'wandb sync' joins"
    (database,) = (tmp_path / "trackio").glob("*.db")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("select run_name, metrics from metrics").fetchall()
    points = [json.loads(metrics) for _, metrics in rows]
    assert {run for run, _ in rows} == {name}
    losses = {each["train/global_step"]: each["train/loss"] for each in points if "train/loss" in each}
    assert losses.items() <= logged.items() and losses[60] == logged[60]  # a kill may take the last half second


@pytest.mark.parametrize("host, config", [("hf", "zero3.json"), ("llava", "zero2.json")])
def test_probe_under_deepspeed(host, config, stores, world_files, tiny_llm, tmp_path):
    """Two processes share an odd number of rows and find what one process finds; the training stays as it is."""
    flags = (*stage1_flags(stores), "--host", host, "--per_device_train_batch_size", 2)
    probe = (*probe_flags(world_files), "--revision_probe_steps", 2)
    train(tmp_path / "one", tiny_llm, *flags, *probe, "--max_steps", 1)
    environment = {**ENVIRONMENT, "DS_ACCELERATOR": "cpu"}
    for name, more in (("with", probe), ("without", ())):
        out = tmp_path / name
        words = (*flags, *more, "--deepspeed", ROOT / "scripts" / config)
        finish(start(out, tiny_llm, *words, launcher=torchrun(), environment=environment, steps=3, every=100), out)
    assert_equal(weights(tmp_path / "with", host), weights(tmp_path / "without", host))
    assert curve(tmp_path / "with", "loss") == curve(tmp_path / "without", "loss")
    found = curve(tmp_path / "with", "probe_loss")
    assert list(found) == [0, 2, 3]
    for name in ("probe_loss", "probe_loss_error", "probe_rows"):
        assert curve(tmp_path / "with", name)[0] == pytest.approx(curve(tmp_path / "one", name)[0], rel=1e-4), name


def test_refused_before_the_training(stores, world_files, tiny_llm, tmp_path):
    flags = (*stage1_flags(stores), "--host", "hf")
    unknown = train(tmp_path / "a", tiny_llm, *flags, "--report_to", "tensorbord", expect=2)
    assert "--report_to tensorbord: no such tracker; there are " in unknown.stderr
    records = json.loads((world_files / "paired.json").read_text())
    del records[3]["image"]
    (tmp_path / "texts.json").write_text(json.dumps(records[:8]))
    words = ("--revision_probe", tmp_path / "texts.json", "--image_folder", world_files / "images")
    lacking = train(tmp_path / "b", tiny_llm, *flags, *words, expect=2)
    assert f"--revision_probe {tmp_path / 'texts.json'}: 1 of 8 record(s) cannot be used, first " in lacking.stderr
    assert lacking.stderr.count("error: ") == 1 and not (tmp_path / "b" / "trainer_state.json").exists()
