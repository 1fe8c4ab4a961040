import json

import numpy as np
import pytest
import torch
from conftest import unit_rows, write_store

from revision_plugin.aligners import ALIGNERS, ReAlign, create, load_aligner
from revision_plugin.errors import RevisionError


def reference_realign(source, target, x, rounds=1):
    """The papers' equations, straight from their symbols, in float64."""
    n = lambda z: z / np.linalg.norm(z, axis=1, keepdims=True)  # noqa: E731
    mu_y, mu_x = source.mean(0), target.mean(0)
    t_y = (np.linalg.norm(source - mu_y, axis=1) ** 2).mean()
    t_x = (np.linalg.norm(target - mu_x, axis=1) ** 2).mean()
    s = np.sqrt(t_x / t_y)
    corpus, e = n(mu_x + s * (source - mu_y)), n(mu_x + s * (x - mu_y))
    for _ in range(rounds):
        drifted = corpus.mean(0)
        corpus, e = n(corpus - drifted + mu_x), n(e - drifted + mu_x)
    return e


OPTIONS = {"aniso": dict(steps=20, batch=64, hidden=32)}
CLOSED_FORM = [method for method in ALIGNERS.names() if method != "aniso"]


@pytest.fixture
def clouds(rng):
    source = unit_rows(rng, 3000, 24, shift=0.3)
    target = unit_rows(rng, 2000, 24, shift=-0.4) @ np.linalg.qr(rng.normal(size=(24, 24)))[0]
    return source, target


@pytest.mark.parametrize("rounds", [1, 3])
def test_realign_matches_the_equations(clouds, rounds):
    source, target = clouds
    aligner = ALIGNERS.get("realign")(centroid_rounds=rounds).fit(source, target)
    expected = reference_realign(source, target, source[:200], rounds)
    np.testing.assert_allclose(aligner(torch.from_numpy(source[:200])).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(aligner(torch.from_numpy(source[:200]).float()).numpy(), expected, atol=1e-6)


def test_realign_by_hand():
    """Two antipodal-ish points on the circle: mean_y = (0, .6), mean_x = (.8, 0); the map is computable by eye."""
    source = np.array([[0.8, 0.6], [-0.8, 0.6]])
    target = np.array([[0.8, 0.6], [0.8, -0.6]])
    aligner = ALIGNERS.get("realign")().fit(source, target)
    # s = sqrt(.36/.64) = .75: e~ = (.8 +- .6, 0) -> n = (1, 0) for both; mu' = (1, 0); e'' = (.8, 0) -> (1, 0)
    np.testing.assert_allclose(aligner(torch.from_numpy(source)).numpy(), [[1, 0], [1, 0]], atol=1e-12)


def test_realign_of_a_corpus_onto_itself_is_the_identity(clouds):
    source, _ = clouds
    aligner = ALIGNERS.get("realign")().fit(source, source)
    np.testing.assert_allclose(aligner(torch.from_numpy(source)).numpy(), source, atol=1e-7)
    assert aligner.report.centroid_gap < 1e-9


def test_realign_turns_with_the_space(clouds, rng):
    source, target = clouds
    turn = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    plain = ALIGNERS.get("realign")().fit(source, target)(torch.from_numpy(source))
    turned = ALIGNERS.get("realign")().fit(source @ turn, target @ turn)(torch.from_numpy(source @ turn))
    np.testing.assert_allclose(turned.numpy(), plain.numpy() @ turn, atol=1e-10)


def test_realign_closes_the_gap_and_more_rounds_reach_the_floor(clouds):
    source, target = clouds
    gaps = [ALIGNERS.get("realign")(centroid_rounds=k).fit(source, target).report.centroid_gap for k in (1, 2, 30)]
    before = ALIGNERS.get("none")().fit(source, target).report.centroid_gap
    assert gaps[0] < before / 50 and gaps[1] < gaps[0] and gaps[2] < 1e-12


@pytest.mark.parametrize("method", ALIGNERS.names())
def test_contract(clouds, method):
    source, target = clouds
    aligner = ALIGNERS.get(method)(**OPTIONS.get(method, {})).fit(source, target, seed=3)
    x = torch.from_numpy(source[:64])
    before = x.clone()
    for dtype, expected_dtype in [
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ]:
        out = aligner(x.to(dtype))
        assert out.dtype == expected_dtype and out.shape == x.shape
        assert (out.norm(dim=1) - 1).abs().max() < 1e-6
    assert torch.equal(x, before)
    np.testing.assert_allclose(aligner(x[[5]]).numpy(), aligner(x)[[5]].numpy(), atol=1e-12)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(aligner(x.float()), aligner(x.float()))
        assert aligner(x.float()).dtype == torch.float32


@pytest.mark.parametrize("method", CLOSED_FORM)
def test_order_of_rows_does_not_matter(clouds, method, rng):
    source, target = clouds
    one = ALIGNERS.get(method)().fit(source, target)
    other = ALIGNERS.get(method)().fit(rng.permutation(source), rng.permutation(target))
    x = torch.from_numpy(source[:50])
    np.testing.assert_allclose(one(x).numpy(), other(x).numpy(), atol=1e-9)


@pytest.mark.parametrize("method", ALIGNERS.names())
def test_save_and_load(clouds, tmp_path, method):
    source, target = clouds
    aligner = ALIGNERS.get(method)(**OPTIONS.get(method, {})).fit(source, target)
    aligner.save(tmp_path / "a")
    again = load_aligner(tmp_path / "a")
    x = torch.from_numpy(source[:10])
    assert torch.equal(aligner(x), again(x))
    assert again.identity == aligner.identity
    with pytest.raises(RevisionError, match="already exists"):
        aligner.save(tmp_path / "a")


def test_damaged_aligner_is_refused(clouds, tmp_path):
    ALIGNERS.get("realign")().fit(*clouds).save(tmp_path / "a")
    weights = tmp_path / "a" / "aligner.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    with pytest.raises(RevisionError, match="cut or edited"):
        load_aligner(tmp_path / "a")
    weights.write_bytes(data[:40])
    with pytest.raises(RevisionError, match="cut or edited"):
        load_aligner(tmp_path / "a")
    record = tmp_path / "a" / "aligner.json"
    record.write_text(json.dumps({"kind": "aligner", "format_version": 1}))
    with pytest.raises(RevisionError, match="lacks dim, method"):
        load_aligner(tmp_path / "a")


def test_bad_input_is_refused(clouds, tmp_path):
    source, target = clouds
    fit = ReAlign().fit
    with pytest.raises(RevisionError, match="1 row"):
        fit(source[:1], target)
    with pytest.raises(RevisionError, match="differ in dimension: 24 and 20"):
        fit(source, target[:, :20])
    with pytest.raises(RevisionError, match="no option 'rounds'; its options: centroid_rounds"):
        create(ReAlign, {"rounds": 2})
    with pytest.raises(RevisionError, match="at least 0"):
        ReAlign(centroid_rounds=-1)
    with pytest.raises(RevisionError, match=r"maps \[N, 24\]"):
        fit(source, target)(torch.zeros(2, 20))
    texts = write_store(tmp_path / "t", source[:50])
    images = write_store(
        tmp_path / "i", target[:50], modality="image", encoder={"spec": "other", "fingerprint": "1" * 64}
    )
    with pytest.raises(RevisionError, match="different encoders"):
        fit(texts, images)


def test_store_and_array_give_the_same_aligner(clouds, tmp_path):
    source, target = clouds
    texts = write_store(tmp_path / "t", source, chunk=700)
    images = write_store(tmp_path / "i", target, modality="image")
    from_store = ALIGNERS.get("realign")().fit(texts, images)
    from_array = ALIGNERS.get("realign")().fit(source.astype(np.float32), target.astype(np.float32))
    for name, value in from_array.parameters.items():
        np.testing.assert_allclose(from_store.parameters[name], value, atol=1e-12)
    assert from_store.report.source.content_hash == texts.manifest.content_hash


def test_held_out_report_is_a_fit_on_the_other_rows(clouds):
    """Every tenth row held out; the aligner itself is fitted on all rows."""
    source, target = clouds
    aligner = ALIGNERS.get("realign")().fit(source, target, held_out=0.1)
    held = [np.arange(len(rows)) % 10 == 9 for rows in clouds]
    other = ALIGNERS.get("realign")().fit(source[~held[0]], target[~held[1]], held_out=0)
    moved = other(torch.from_numpy(source[held[0]])).numpy()
    report = aligner.report.held_out
    assert (report.source_rows, report.target_rows) == (300, 200)
    assert report.centroid_gap == pytest.approx(np.linalg.norm(moved.mean(0) - target[held[1]].mean(0)), abs=1e-12)
    assert report.trace == pytest.approx(np.square(moved - moved.mean(0)).sum(1).mean(), abs=1e-12)
    assert aligner.report.centroid_gap < report.centroid_gap
    whole = ALIGNERS.get("realign")().fit(source, target, held_out=0)
    assert whole.report.held_out is None
    for name, value in whole.parameters.items():
        np.testing.assert_array_equal(aligner.parameters[name], value)
