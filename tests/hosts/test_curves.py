"""Trackers, the probe of real images and the pace of a training, in the real hosts."""

import json
import math
import signal

import conftest
import numpy as np
import pytest
import torch
from conftest import ENVIRONMENT, ROOT, projector, stage1_flags, torchrun, train
from interruptions import finish, start, stop_after_checkpoint
from safetensors.torch import load_file

from revision_plugin.hosts import find_host

pytestmark = pytest.mark.slow
HOSTS = ("llava", "hf")
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
    from PIL import Image

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
    from transformers import AutoTokenizer

    from revision_plugin.embeddings.store import Store

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
    assert [entry["seconds_left"] > 0 for entry in entries] == [True] * (len(entries) - 1) + [False]
    plain = [entry for entry in history(root / "plain") if "loss" in entry]
    assert all("tokens_per_second" in entry and "seconds_left" not in entry for entry in plain), "the bar says it"
