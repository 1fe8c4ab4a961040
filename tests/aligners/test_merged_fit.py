"""Fits on sums alone against fits on the rows."""

import itertools

import numpy as np
import pytest
from conftest import unit_rows, write_store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from revision_plugin.aligners import ALIGNERS, Aligner, MeanShift, create, load_aligner
from revision_plugin.aligners.merged_fit import PartialFit, merge_fit
from revision_plugin.embeddings.maps import IsotropicMap
from revision_plugin.embeddings.partial_moments import sum_part
from revision_plugin.embeddings.store import Store
from revision_plugin.errors import RevisionError
from revision_plugin.export.aligner_card import aligner_card


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("stores"), np.random.default_rng(5)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    write_store(root / "texts", unit_rows(rng, 700, 12, shift=0.3), dtype="float16", chunk=130)
    write_store(root / "images", unit_rows(rng, 500, 12, shift=-0.4) @ turn, modality="image", chunk=90)
    return Store.open(root / "texts"), Store.open(root / "images")


NAMES = itertools.count()


def summed(folder, store, cuts=(), **settings):
    """Files of the sums of a store's parts."""
    edges, files = [0, *sorted({*cuts}), len(store)], []
    for start, stop in zip(edges, edges[1:]):
        files.append(folder / f"part-{next(NAMES)}")
        sum_part(store, start=start, stop=stop, **settings).save(files[-1])
    return files


def completed(folder, files, source, aligner, cuts=(), **settings):
    """The aligner, and how many passes over the source it took."""
    fitted, passes = merge_fit(files, aligner, **settings), 1
    while isinstance(fitted, PartialFit):
        path = folder / f"map-{next(NAMES)}"
        fitted.save(path)
        through = PartialFit.load(path).next_pass
        assert through.hash == fitted.next_pass.hash
        fitted, passes = merge_fit([*summed(folder, source, cuts, through=through), path]), passes + 1
    return fitted, passes


@pytest.mark.parametrize(
    "method, options, passes",
    [
        ("none", {}, 1),
        ("mean_shift", {}, 1),
        ("c3", {}, 1),
        ("realign", {"centroid_rounds": 0}, 1),
        ("realign", {}, 2),
        ("realign", {"centroid_rounds": 3}, 4),
        ("monge", {"centroid_rounds": 0}, 1),
        ("monge", {"shrinkage": 0.1}, 2),
        ("bc", {"ridge": 0.1}, 3),
    ],
)
def test_sums_give_the_aligner_that_rows_give(stores, tmp_path, method, options, passes):
    source, target = stores
    aligner = create(ALIGNERS.get(method), options)
    files = [
        *summed(tmp_path, target, [77], covariance=aligner.reads_covariances),
        *summed(tmp_path, source, [100, 101, 650], covariance=aligner.reads_covariances),
    ]
    merged, taken = completed(tmp_path, files, source, aligner, cuts=[333])
    assert taken == passes
    whole = create(ALIGNERS.get(method), options).fit(source, target, held_out=0)
    assert merged.get_params() == whole.get_params() and merged.parameters.keys() == whole.parameters.keys()
    for name, value in whole.parameters.items():
        np.testing.assert_allclose(merged.parameters[name], value, rtol=0, atol=1e-12, err_msg=name)
    report, expected = merged.report, whole.report
    assert report.source.content_hash == expected.source.content_hash and report.encoder == expected.encoder
    assert report.target.count == 500 and abs(report.centroid_gap_before - expected.centroid_gap_before) < 1e-12
    assert (report.centroid_gap is None) == (method != "none")
    merged.save(tmp_path / "aligner")
    again = load_aligner(tmp_path / "aligner")
    assert again.report == report and again.identity == merged.identity
    assert ("not measured" in str(again.report)) == ("not measured" in aligner_card(again)) == (method != "none")


@pytest.mark.parametrize("method, passes", [("mean_shift", 2), ("realign", 3)])
def test_one_more_pass_measures_the_gap(stores, tmp_path, method, passes):
    source, target = stores
    files = [*summed(tmp_path, source), *summed(tmp_path, target)]
    merged, taken = completed(tmp_path, files, source, ALIGNERS.get(method)(), measure=True)
    expected = ALIGNERS.get(method)().fit(source, target, held_out=0).report
    assert taken == passes
    assert abs(merged.report.centroid_gap - expected.centroid_gap) < 1e-12
    assert abs(merged.report.aligned_trace - expected.aligned_trace) < 1e-12


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(1, 499), max_size=5),
    later=st.lists(st.integers(1, 499), max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_the_order_of_files_changes_no_bit_and_cuts_only_rounding(stores, tmp_path, cuts, later, order):
    source, target = stores
    files = [*summed(tmp_path, source, cuts), *summed(tmp_path, target, cuts)]
    first, second = (merge_fit(order.sample(files, len(files))) for _ in range(2))
    assert first.next_pass.hash == second.next_pass.hash
    first.save(tmp_path / (name := f"map-{next(NAMES)}"))
    files = [tmp_path / name, *summed(tmp_path, source, later, through=first.next_pass)]
    one, other = (merge_fit(order.sample(files, len(files))) for _ in range(2))
    assert isinstance(one, Aligner) and one.identity == other.identity
    whole = ALIGNERS.get("realign")().fit(source, target, held_out=0)
    for key, value in whole.parameters.items():
        np.testing.assert_allclose(one.parameters[key], value, rtol=0, atol=1e-12)


def test_sums_that_do_not_belong_together(stores, tmp_path, rng):
    source, target = stores
    texts, images = summed(tmp_path, source), summed(tmp_path, target)
    first, other = merge_fit([*texts, *images]), merge_fit([*texts, *images], MeanShift(), measure=True)
    first.save(tmp_path / "first")
    other.save(tmp_path / "other")
    mapped = summed(tmp_path, source, [100], through=first.next_pass)
    foreign = write_store(tmp_path / "foreign", unit_rows(rng, 40, 12))
    elsewhere = summed(tmp_path, foreign, through=first.next_pass)
    for files, line in [
        (texts, "no file holds moments of images"),
        ([*texts, *images, *mapped], "was summed through a map; give the file of that map"),
        ([tmp_path / "first"], "give the moments through it, too: revision moments SOURCE --through"),
        ([tmp_path / "first", *texts], "was summed without a map, not through"),
        ([tmp_path / "other", *mapped], "was summed through another map, not through"),
        ([tmp_path / "first", tmp_path / "other", *mapped], "give one of them"),
        ([tmp_path / "first", mapped[0]], "rows 100 to 700 of the 700 .* are in no file"),
        ([tmp_path / "first", *mapped, mapped[1]], "give every row once"),
        ([tmp_path / "first", *mapped, *elsewhere], "not of all the rows that the map was fitted on"),
        ([tmp_path / "first", *elsewhere], "not of all the rows that the map was fitted on"),
    ]:
        with pytest.raises(RevisionError, match=line):
            merge_fit(files)
    with pytest.raises(RevisionError, match="says method and options itself"):
        merge_fit([tmp_path / "first", *mapped], MeanShift())
    with pytest.raises(RevisionError, match="only texts are mapped"):
        sum_part(target, through=first.next_pass)
    with pytest.raises(RevisionError, match="is no source that the map was fitted on"):
        first.require_source(foreign, "foreign")
    with pytest.raises(RevisionError, match="holds no covariance"):
        merge_fit([*texts, *images], ALIGNERS.get("monge")())


def test_methods_that_read_rows_are_refused(stores, tmp_path):
    source, target = stores
    files = [*summed(tmp_path, source, covariance=True), *summed(tmp_path, target, covariance=True)]
    for aligner in (ALIGNERS.get("aniso")(steps=2), ALIGNERS.get("monge")(covariance_rows=20)):
        with pytest.raises(RevisionError, match="reads rows, which sums do not keep"):
            merge_fit(files, aligner)

    class Bent(MeanShift):
        """A map of no form that a file holds."""

        method = "bent"

        def isotropic(self):
            return None

    with pytest.raises(RevisionError, match="'bent' maps rows in no form that a file holds"):
        merge_fit(files, Bent(), measure=True)


def test_a_map_file_that_was_changed_is_refused(stores, tmp_path):
    source, target = stores
    fit = merge_fit([*summed(tmp_path, source), *summed(tmp_path, target)])
    assert isinstance(fit.mapping, IsotropicMap) and not len(fit.mapping.shifts)
    fit.save(tmp_path / "map")
    data = (tmp_path / "map").read_bytes()
    for place in (3, len(data) // 2, len(data) - 1):
        (tmp_path / "map").write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(RevisionError):
            PartialFit.load(tmp_path / "map")
