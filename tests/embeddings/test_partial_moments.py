"""Sums of parts in files: what they hold, how they add up, and which do not belong together."""

import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest
from conftest import unit_rows, write_store
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from revision_plugin.embeddings.moments import Moments, stream_moments
from revision_plugin.embeddings.partial_moments import PartialMoments, combine, sum_part
from revision_plugin.embeddings.rows import as_rows
from revision_plugin.encoders import Identity
from revision_plugin.errors import RevisionError

MINE = Identity("mine", "1" * 64)


def parts_of(rows, cuts, **settings):
    edges = [0, *sorted({*cuts} - {0, len(rows)}), len(rows)]
    return [
        sum_part(rows, modality="text", encoder=MINE, start=start, stop=stop, **settings)
        for start, stop in zip(edges, edges[1:])
    ]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 80),
    dim=st.integers(1, 7),
    cuts=st.lists(st.integers(1, 80), max_size=6),
    order=st.randoms(use_true_random=False),
    covariance=st.booleans(),
    seed=st.integers(0, 9),
)
def test_parts_add_up_however_rows_are_cut_and_in_any_order(count, dim, cuts, order, covariance, seed):
    rows = as_rows(unit_rows(np.random.default_rng(seed), count, dim, shift=0.3).astype(np.float16))
    parts = parts_of(rows, [cut % count for cut in cuts], covariance=covariance)
    shuffled = order.sample(parts, len(parts))
    sums, again = combine(parts, covariance=covariance), combine(shuffled, covariance=covariance)
    np.testing.assert_array_equal(sums.moments.flat(), again.moments.flat())  # to the bit
    whole = stream_moments(rows, covariance=covariance)
    assert sums.moments.count == count and sums.contents == {parts[0].content_hash: count}
    np.testing.assert_allclose(sums.moments.mean, whole.mean, rtol=0, atol=1e-12)
    if covariance:
        np.testing.assert_allclose(sums.moments.covariance, whole.covariance, rtol=0, atol=1e-12)


def test_many_sums_are_rounded_about_once():
    """Against exact fractions, on sums that cancel: added one by one they lose all digits."""
    values = [1e16, 1.0, -1e16, 3e-9] * 50
    exact = float(sum(map(Fraction, values)))
    parts = [Moments(1, np.array([value]), np.array([[-value]])) for value in values]
    total = Moments.sum(parts, covariance=True)
    assert total.count == 200 and abs(sum(values) - exact) > 10
    np.testing.assert_allclose([total.total[0], -total.outer[0, 0]], exact, rtol=1e-15)
    assert Moments.sum(parts, covariance=False).outer is None


def test_a_file_holds_sums_and_what_they_are_of(tmp_path, rng):
    rows = unit_rows(rng, 300, 6, shift=0.2)
    store = write_store(tmp_path / "s", rows, modality="image")
    part = sum_part(store, start=100, stop=250, covariance=True)
    part.save(tmp_path / "part")
    with safe_open(tmp_path / "part", "numpy") as file:
        record = json.loads(file.metadata()["revision"])
        assert sorted(file.keys()) == ["outer", "total"]
    assert {name: record[name] for name in ("modality", "dim", "count", "rows", "of", "content_hash", "through")} == {
        "modality": "image",
        "dim": 6,
        "count": 150,
        "rows": [100, 250],
        "of": 300,
        "content_hash": store.manifest.content_hash,
        "through": None,
    }
    loaded = PartialMoments.load(tmp_path / "part")
    np.testing.assert_array_equal(loaded.moments.flat(), part.moments.flat())
    assert loaded.encoder == store.encoder and (loaded.start, loaded.stop, loaded.of) == (100, 250, 300)
    stored = np.concatenate([*store.blocks()])[100:250].astype(np.float64)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    np.testing.assert_allclose(loaded.moments.mean, stored.mean(0), atol=1e-14)
    with pytest.raises(RevisionError, match="already exists"):
        part.save(tmp_path / "part")


def test_a_byte_changed_anywhere_is_found(tmp_path, rng):
    """Each byte of the file in turn: nothing else comes out of it than one line."""
    path = tmp_path / "part"
    sum_part(as_rows(unit_rows(rng, 20, 3)), modality="text", encoder=MINE).save(path)
    data = path.read_bytes()
    for place in range(0, len(data), 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            changed = PartialMoments.load(path)
        except RevisionError as error:
            assert "\n" not in str(error)
        else:
            raise AssertionError(f"byte {place}: {changed}")
    path.write_bytes(data)
    assert PartialMoments.load(path).moments.count == 20


def test_only_parts_that_belong_together_are_combined(rng):
    rows, others = as_rows(unit_rows(rng, 50, 4)), as_rows(unit_rows(rng, 30, 4))
    first, second = parts_of(rows, [20])
    change = dataclasses.replace
    for wrong, line in [
        ([first, second, second], "rows 20 to 50 are in .*; give every row once"),
        ([first, change(second, start=15)], "rows 15 to 50 are in"),
        ([first], "rows 20 to 50 of the 50 .* are in no file; .* --rows 20:50"),
        ([second], "rows 0 to 20 of the 50"),
        ([first, change(second, modality="image")], "is of images, .* of texts"),
        ([first, change(second, encoder=Identity("other", "2" * 64))], "of another encoder .*'other' and 'mine'"),
        ([first, change(second, encoder=None)], "names no encoder"),
        ([first, change(second, view="parts")], "is of parts, .* of wholes"),
        ([first, change(second, through="a" * 64)], "through another map"),
        ([first, change(second, of=60)], "says 60 rows of content that has 50"),
        ([*parts_of(others, []), first], "rows 20 to 50 of the 50"),
        ([first, *parts_of(as_rows(unit_rows(rng, 9, 5)), [])], "dimensions"),
    ]:
        for order in (wrong, wrong[::-1]):
            with pytest.raises(RevisionError, match=line):
                combine(order, covariance=False)
    with pytest.raises(RevisionError, match="holds no covariance"):
        combine([first, second], covariance=True)
    together = combine([first, second, *parts_of(others, [])], covariance=False)
    assert sorted(together.contents.values()) == [30, 50] and together.moments.count == 80


def test_what_cannot_be_summed(tmp_path, rng):
    rows = as_rows(unit_rows(rng, 20, 4))
    with pytest.raises(RevisionError, match="no range of 20 rows"):
        sum_part(rows, modality="text", start=5, stop=21)
    with pytest.raises(RevisionError, match="need a modality"):
        sum_part(rows)
    bad = unit_rows(rng, 20, 4)
    bad[13] = 0
    with pytest.raises(RevisionError, match="embedding row 13 is zero"):
        sum_part(as_rows(bad), modality="text", start=10)
