import pytest
from conftest import unit_rows, write_store

from revision_plugin.aligners import ALIGNERS
from revision_plugin.aligners.apply import apply_aligner
from revision_plugin.embeddings.store import is_store
from revision_plugin.errors import RevisionError
from revision_plugin.hosts.examples import TextOnlyData, mark_image

TALK = [{"from": "human", "value": "what is it?"}, {"from": "gpt", "value": "a dog"}]


def test_reconstruction_and_conversation(rng, tmp_path):
    store = write_store(tmp_path / "s", unit_rows(rng, 2, 6), texts=["a dog runs", "a cat"], conversations=[TALK, None])
    reconstruct = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a dog runs"}]
    assert TextOnlyData(store, reconstruct=True)[0].conversations == reconstruct
    data = TextOnlyData(store, reconstruct=False)
    assert data[0].conversations[0]["value"] == "<image>\nwhat is it?" and data[0].id == "row-0"
    assert data[1].conversations[1]["value"] == "a cat"
    assert data.lengths == [3, 2] and len(data) == 2
    assert data[0].embedding.dtype.name == "float32"


def test_mark_image_keeps_an_existing_mark():
    marked = [{"from": "human", "value": "look:\n<image>"}]
    assert mark_image(marked) == marked
    assert TALK[0]["value"] == "what is it?", "the input is not changed"


def test_unfit_stores(rng, tmp_path):
    rows = unit_rows(rng, 5, 6)
    with pytest.raises(RevisionError, match="needs a text store"):
        TextOnlyData(write_store(tmp_path / "i", rows, modality="image"), reconstruct=True)
    store = write_store(tmp_path / "s", rows)
    aligned = apply_aligner(ALIGNERS.get("realign")().fit(rows, rows, encoder=store.encoder), store, tmp_path / "a")
    with pytest.raises(RevisionError, match="already aligned"):
        TextOnlyData(aligned, reconstruct=True)
    assert is_store(tmp_path / "s") and not is_store(tmp_path)
