"""The contract of aligners, kept by all that are shipped; and the Python API as a user types it."""

import numpy as np
import pytest
import torch
from conftest import unit_rows, write_store
from sklearn.base import clone

from revision_plugin import ReAlign, RevisionError, load_aligner
from revision_plugin.aligners import ALIGNERS, AnisoAlign, create
from revision_plugin.testing import check_aligner

SMALL = {"aniso": {"steps": 5, "hidden": 8}, "bc": {"ridge": 0.1}}


@pytest.mark.parametrize("method", ALIGNERS.names())
def test_every_aligner_keeps_the_contract(method):
    check_aligner(create(ALIGNERS.get(method), SMALL.get(method, {})))


def test_a_broken_aligner_breaks_the_contract(monkeypatch):
    monkeypatch.setattr(ReAlign, "align", lambda self, x, parameters, training=False: 2 * x)
    with pytest.raises(AssertionError, match="unit norm"):
        check_aligner(ReAlign())


def test_fit_takes_paths_stores_arrays_and_tensors(tmp_path, rng):
    source, target = unit_rows(rng, 60, 8), unit_rows(rng, 50, 8, shift=0.5)
    stores = write_store(tmp_path / "texts", source), write_store(tmp_path / "images", target, modality="image")
    aligned = ReAlign(centroid_rounds=1).fit(str(tmp_path / "texts"), tmp_path / "images").transform(source)
    rounded = [rows.astype(np.float32) for rows in (source, target)]
    for corpora in (stores, rounded, [torch.from_numpy(rows) for rows in rounded]):
        np.testing.assert_array_equal(ReAlign().fit(*corpora).transform(source), aligned)
    with pytest.raises(RevisionError, match="no such embedding store"):
        ReAlign().fit(tmp_path / "nothing", tmp_path / "images")
    with pytest.raises(RevisionError, match="must be floats"):
        ReAlign().fit([["a"]], target)
    with pytest.raises(RevisionError, match="must be an array"):
        ReAlign().fit([[1.0], [1.0, 2.0]], target)


def test_rows_in_any_order_of_bytes_and_in_bfloat16(rng):
    source, target = unit_rows(rng, 60, 8), unit_rows(rng, 50, 8, shift=0.5)
    aligner = ReAlign().fit(source, target)
    swapped = source.astype(">f8")
    np.testing.assert_array_equal(
        ReAlign().fit(swapped, target).transform(swapped[::-1]), aligner.transform(source[::-1])
    )
    low = torch.from_numpy(source).bfloat16()
    assert aligner.transform(low).dtype == torch.float32
    assert ReAlign().fit(low, torch.from_numpy(target).bfloat16()).report.centroid_gap < 0.05


def test_options_as_scikit_learn_has_them(rng):
    aligner = ReAlign(centroid_rounds=3)
    assert aligner.get_params() == {"centroid_rounds": 3} and repr(aligner) == "ReAlign(centroid_rounds=3)"
    assert clone(aligner).get_params() == {"centroid_rounds": 3}
    aligner.fit(unit_rows(rng, 30, 8), unit_rows(rng, 30, 8, shift=0.5))
    with pytest.raises(RevisionError, match="centroid_rounds must be a whole number of at least 0"):
        aligner.set_params(centroid_rounds=-1)
    assert aligner.get_params() == {"centroid_rounds": 3} and aligner.dim == 8, "a refused change changes nothing"
    with pytest.raises(RevisionError, match="is not fitted"):
        aligner.set_params(centroid_rounds=2).transform(unit_rows(rng, 3, 8))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"partners": 0}, "partners must be a whole number of at least 1"),
        ({"sigma_min": 0}, "sigma_min must be a finite number above 0"),
        ({"batch": 0}, "batch must be a whole number of at least 1"),
        ({"hidden": 1.5}, "hidden must be a whole number"),
        ({"a_theta": True}, "a_theta must be a finite number"),
        ({"tau": float("nan")}, "tau must be a finite number"),
        ({"mixing": 1}, "mixing must be true or false"),
        ({"sigma_min": 2.0}, "sigma_min 2.0 is larger than sigma_max 1.0"),
        ({"steps": 0, "hidden": 0}, "steps must be .*; hidden must be "),
    ],
)
def test_anisoaligns_options_are_checked(options, message):
    with pytest.raises(RevisionError, match=message):
        AnisoAlign(**options)


def test_rows_that_have_no_direction_are_refused(rng):
    aligner = ReAlign().fit(unit_rows(rng, 30, 8), unit_rows(rng, 30, 8, shift=0.5))
    rows = unit_rows(rng, 5, 8)
    for value in (0.0, np.nan, np.inf):
        rows[3] = value
        with pytest.raises(RevisionError, match="embedding row 3 is zero or not finite"):
            aligner.transform(rows)


def test_an_aligner_fitted_on_arrays_fits_no_encoder_until_one_is_named(rng, tmp_path):
    source, target = unit_rows(rng, 30, 8), unit_rows(rng, 30, 8, shift=0.5)
    store = write_store(tmp_path / "texts", source)
    nameless = ReAlign().fit(source, target)
    with pytest.raises(RevisionError, match=r"fitted on arrays, which name no encoder.*fit\(\.\.\., encoder='test'\)"):
        nameless.check_encoder(store.encoder, "texts")
    ReAlign().fit(source, target, encoder=store.encoder).check_encoder(store.encoder, "texts")
    with pytest.raises(RevisionError, match=r"come from different encoders \('test' and 'demo'\)"):
        ReAlign().fit(store, target, encoder="demo")


def test_unsaved_aligners_have_different_identities(rng, tmp_path):
    source, target = unit_rows(rng, 30, 8), unit_rows(rng, 30, 8, shift=0.5)
    one, other = ReAlign().fit(source, target), ReAlign().fit(source[:20], target)
    assert one.identity["hash"] and one.identity != other.identity
    one.save(tmp_path / "a")
    assert load_aligner(tmp_path / "a").identity == one.identity
