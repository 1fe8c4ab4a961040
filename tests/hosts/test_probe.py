"""What a training is probed with, read from its flags."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from revision_plugin.encoders import load_encoder
from revision_plugin.errors import RevisionError
from revision_plugin.hosts import probe
from revision_plugin.tower import PseudoVisionTower

ROWS = 6


@pytest.fixture(scope="module")
def tower():
    return PseudoVisionTower(load_encoder("demo"), tokens=2)


@pytest.fixture
def ask(tower, world_files):
    """Reads a probe by changed flags; gives the names and embeddings of its examples."""

    def read(**changed):
        flags = dict(revision_probe=str(world_files / "paired.json"), revision_probe_images=None, image_folder=None)
        flags |= dict(revision_probe_rows=ROWS, revision_probe_steps=5, image_aspect_ratio="square") | changed

        def item(turns, image, name):
            learned = len(turns[1]["value"].split())
            return {"name": name, "image": image, "labels": torch.tensor([probe.IGNORED, *range(learned)])}

        return probe.read_probe(SimpleNamespace(**flags), tower, item, list)

    return read


def test_images_are_encoded_once_as_a_store_has_them(ask, world_files, stores):
    folder, stored = (ask(revision_probe_images=str(place)) for place in (world_files / "images", stores / "images"))
    records = json.loads((world_files / "paired.json").read_text())
    assert [each["name"] for each in folder.items] == [records[n * len(records) // ROWS]["id"] for n in range(ROWS)]
    assert (folder.rows, folder.passes, folder.steps) == (ROWS, ROWS, 5)
    for ours, theirs in zip(folder.items, stored.items, strict=True):
        assert ours["image"].shape == theirs["image"].shape
        torch.testing.assert_close(ours["image"], theirs["image"], atol=1e-3, rtol=0)  # the store keeps 16 bits
    everything = ask(image_folder=str(world_files / "images"), revision_probe_rows=1000)
    assert everything.rows == len(records)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_processes_share_the_rows(rank, ask, world_files, monkeypatch):
    """Each makes as many passes, one with nothing of its own as well."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "4")
    pictures = str(world_files / "images")
    found = ask(revision_probe_images=pictures, revision_probe_rows=5)
    assert (found.rows, found.passes, len(found.items)) == (5, 2, 1 if rank else 2)
    few = ask(revision_probe_images=pictures, revision_probe_rows=2)
    assert (few.rows, few.passes, len(few.items)) == (2, 1, 1)


def test_the_standard_error_is_that_of_a_ratio(rng):
    """Compared with drawing rows again and again."""
    tokens = rng.integers(3, 12, 400).astype(float)
    nats = tokens * (2 + rng.normal(size=400) * 0.5) + rng.normal(size=400)
    squares = [float(each) for each in (nats @ nats, nats @ tokens, tokens @ tokens)]
    found = probe._ratio(nats.sum(), tokens.sum(), squares, len(nats))
    assert found["probe_loss"] == pytest.approx(nats.sum() / tokens.sum())
    draws = rng.integers(0, 400, (4000, 400))
    again = nats[draws].sum(1) / tokens[draws].sum(1)
    assert found["probe_loss_error"] == pytest.approx(np.std(again), rel=0.05)


def test_one_line_says_what_is_missing(ask, world_files, stores, tmp_path):
    pictures = str(world_files / "images")
    records = json.loads((world_files / "paired.json").read_text())

    def written(*changed):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        path.write_text(json.dumps(changed))
        return str(path)

    lost = {**records[0], "image": "lost.png"}
    silent = {**records[0], "conversations": [records[0]["conversations"][0], {"from": "gpt", "value": ""}]}
    for flags, says in (
        (dict(), "--revision_probe: has images; give --revision_probe_images"),
        (dict(revision_probe=None, revision_probe_images=pictures), f"{pictures}: is for --revision_probe"),
        (dict(revision_probe=str(stores / "images")), "a store of images has no captions"),
        (dict(revision_probe=str(tmp_path / "none.json")), "none.json: is no LLaVA JSON"),
        (dict(revision_probe=written(), image_folder=pictures), "holds no record"),
        (dict(revision_probe=written(lost), image_folder=pictures), "lost.png: no such file"),
        (dict(revision_probe=written(silent), image_folder=pictures), "has no token that is predicted"),
        (dict(revision_probe=written({"id": "a"}), image_folder=pictures), "'a': has no 'conversations'"),
        (dict(revision_probe=written(lost), revision_probe_images=str(stores / "images")), "without an embedding in"),
        (dict(revision_probe_images=str(stores / "texts")), "is a text store; --revision_probe_images takes one of"),
        (dict(revision_probe_images=str(stores / "images"), image_aspect_ratio="pad"), "without padding"),
    ):
        with pytest.raises(RevisionError) as refused:
            ask(**flags)
        assert says in str(refused.value) and "\n" not in str(refused.value)
    assert ask(revision_probe=None) is None
