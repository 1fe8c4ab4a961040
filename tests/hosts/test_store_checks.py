"""Stores that are verified beside the training that reads them."""

import json
import os
import signal
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from conftest import STAGE1, train, unit_rows, write_store

from revision_plugin.embeddings import background_verification
from revision_plugin.embeddings.store import Store
from revision_plugin.encoders import load_encoder
from revision_plugin.errors import RevisionError
from revision_plugin.hosts import store_checks
from revision_plugin.hosts.examples import TextOnlyData
from revision_plugin.hosts.store_checks import AT_ONCE, StoreChecks

GOING_ON = SimpleNamespace(should_save=False, should_training_stop=False)
SAVING = SimpleNamespace(should_save=True, should_training_stop=False)
DAMAGED = r"data-00001\.arrow: the content does not match its hash"


@pytest.fixture
def store(tmp_path):
    """Of two shards."""
    rows = unit_rows(np.random.default_rng(0), 40, 16)
    return write_store(tmp_path / "store", rows, chunk=20, rows_per_shard=20)


def flip(store):
    """Change a byte of a text in the second shard."""
    shard = store.path / "data-00001.arrow"
    data = bytearray(shard.read_bytes())
    data[data.rindex(b"text ") + 5] ^= 1
    shard.write_bytes(data)


def verifying():
    """The processes that this one has started to verify stores."""
    return [each for each in psutil.Process().children() if background_verification.__name__ in each.cmdline()]


@pytest.fixture
def beside(monkeypatch):
    """Every store is large."""
    monkeypatch.setattr(store_checks, "AT_ONCE", 0)
    return StoreChecks()


def test_a_small_store_is_verified_at_once(store):
    StoreChecks().verify(store)
    flip(store)
    with pytest.raises(RevisionError, match=DAMAGED):
        TextOnlyData(Store.open(store.path), reconstruct=True, verify=StoreChecks().verify)
    with pytest.raises(RevisionError, match=DAMAGED):
        TextOnlyData(Store.open(store.path), reconstruct=True)


def test_a_large_one_is_verified_before_anything_is_saved(store, beside):
    flip(store)
    data = TextOnlyData(Store.open(store.path), reconstruct=True, verify=beside.verify)
    assert data[0].conversations[1]["value"] == "text 0"  # training has begun
    with pytest.raises(RevisionError, match=DAMAGED):
        beside.on_step_end(None, None, SAVING)


@pytest.mark.parametrize("moment", ["on_train_end", "on_epoch_end"])
def test_every_moment_of_saving_waits(store, beside, moment):
    flip(store)
    beside.verify(Store.open(store.path))
    with pytest.raises(RevisionError, match=DAMAGED):
        getattr(beside, moment)(None, None, SAVING)


def test_steps_go_on_meanwhile_and_stop_at_what_was_found(store, beside):
    flip(store)
    beside.verify(Store.open(store.path))
    (process,) = verifying()
    process.suspend()
    for _ in range(3):
        beside.on_step_end(None, None, GOING_ON)
    process.resume()
    with pytest.raises(RevisionError, match=DAMAGED):
        while True:
            beside.on_step_end(None, None, GOING_ON)


def test_a_whole_store_lets_everything_pass(store, beside):
    beside.verify(store)
    beside.verify(store)
    assert len(verifying()) == 2
    beside.on_step_end(None, None, SAVING)
    assert not verifying()
    beside.on_train_end(None, None, GOING_ON)


def test_each_process_verifies_its_part(store, beside, monkeypatch):
    flip(store)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        beside.verify(Store.open(store.path))
    first, second = beside._running
    first.result()
    with pytest.raises(RevisionError, match=DAMAGED):
        second.result()


def test_a_verification_that_was_killed_is_no_verification(store, beside):
    beside.verify(store)
    (process,) = verifying()
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(RevisionError, match=r"store: its verification ended with status -9"):
        beside.finish()


@pytest.mark.slow
@pytest.mark.parametrize("host", ["llava", "hf"])
def test_a_training_on_a_large_store(host, stores, tiny_llm, tmp_path):
    """Nothing is left of one whose store is damaged; of the same store when it is whole, a checkpoint."""
    encoder = load_encoder("demo")
    count = AT_ONCE // (4 * encoder.dim) + 1000
    rows = unit_rows(np.random.default_rng(0), count, encoder.dim)
    half, identity = count // 2 + 1, encoder.identity.to_json()
    store = write_store(tmp_path / "store", rows, encoder=identity, chunk=half, rows_per_shard=half)
    flags = (*STAGE1, "--host", host, "--data_path", store.path, "--revision_aligner", stores / "realign")
    flags = (*flags, "--save_strategy", "steps", "--save_steps", 2)
    train(tmp_path / "whole", tiny_llm, *flags)
    log = json.loads((tmp_path / "whole" / "trainer_state.json").read_text())
    assert log["global_step"] == log["max_steps"]
    flip(store)
    said = train(tmp_path / "damaged", tiny_llm, *flags, expect=2)
    assert "data-00001.arrow: the content does not match its hash" in said.stderr.splitlines()[-1]
    assert not [path for path in (tmp_path / "damaged").rglob("*") if path.suffix in (".bin", ".safetensors")]
