import pytest
import torch
from conftest import unit_rows, write_store

from revision_plugin.aligners import ALIGNERS
from revision_plugin.aligners.apply import apply_aligner
from revision_plugin.embeddings.store import is_store
from revision_plugin.errors import RevisionError
from revision_plugin.hosts.examples import TextOnlyData, mark_image
from revision_plugin.visual_batch import TEXT, TEXT_PART

TALK = [{"from": "human", "value": "what is it?"}, {"from": "gpt", "value": "a dog"}]


def test_reconstruction_and_conversation(rng, tmp_path):
    store = write_store(tmp_path / "s", unit_rows(rng, 2, 6), texts=["a dog runs", "a cat"], conversations=[TALK, None])
    reconstruct = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a dog runs"}]
    assert TextOnlyData(store, reconstruct=True)[0].conversations == reconstruct
    data = TextOnlyData(store, reconstruct=False)
    assert data[0].conversations[0]["value"] == "<image>\nwhat is it?" and data[0].id == "row-0"
    assert data[1].conversations[1]["value"] == "a cat"
    assert data.lengths == [3, 2] and len(data) == 2
    assert data[0].embedding.dtype == torch.float32


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


def views_store(rng, tmp_path, counts):
    """A text store in which item i has `counts[i]` parts."""
    ids = [f"item-{i}" for i, count in enumerate(counts) for _ in range(1 + count)]
    numbers = [view for count in counts for view in range(1 + count)]
    rows = unit_rows(rng, len(ids), 6).astype("float32")
    texts = [f"a text of {name}" for name in ids]
    store = write_store(tmp_path / "v", rows, ids=ids, texts=texts, views="clauses:en", numbers=numbers)
    return store, torch.from_numpy(rows)


def test_an_example_has_as_many_views_as_an_image(rng, tmp_path):
    """Item 0 has no part, item 1 as many as there is room for, item 2 too many, item 3 one."""
    store, rows = views_store(rng, tmp_path, [0, 2, 5, 1])
    data = TextOnlyData(store, reconstruct=True, views=3)
    assert len(data) == 4 and data.most_parts == 5
    assert data.items_named({"item-3", "item-1", "item-9"}) == {"item-1": 1, "item-3": 3}
    assert data.lengths == [4] * 4
    expected = [([0, 0, 0], "www"), ([1, 2, 3], "wpp"), ([4, 5, 6], "wpp"), ([10, 11, 10], "wpw")]
    for index, (chosen, kinds) in enumerate(expected):
        example = data[index]
        assert torch.equal(example.embedding[:, 1:], rows[chosen]), index
        assert example.embedding[:, 0].tolist() == [{"w": TEXT, "p": TEXT_PART}[kind] for kind in kinds]
        assert example.conversations[1]["value"] == f"a text of item-{index}"
    with pytest.raises(RevisionError, match="holds views of each text"):
        TextOnlyData(store, reconstruct=True)


def test_a_share_of_the_examples_is_read_as_wholes(rng, tmp_path):
    store, _ = views_store(rng, tmp_path, [2] * 200)
    for share in (0.0, 0.25, 0.5, 1.0):
        data = TextOnlyData(store, reconstruct=True, views=3, whole_share=share)
        wholes = [data.embedding(index).ndim == 1 for index in range(200)]
        assert abs(sum(wholes) - 200 * share) <= 1
        assert all(abs(sum(wholes[start : start + 20]) - 20 * share) <= 2 for start in range(0, 200, 20))
