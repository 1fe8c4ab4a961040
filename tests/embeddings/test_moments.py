import subprocess
import sys

import numpy as np
import pytest
from conftest import unit_rows, write_store

from revision_plugin.embeddings.maps import IsotropicMap
from revision_plugin.embeddings.moments import Moments, stream_moments
from revision_plugin.embeddings.rows import EveryNth, as_rows
from revision_plugin.errors import RevisionError


def reference(rows):
    rows = rows.astype(np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    mean = rows.mean(0)
    return mean, ((rows - mean) ** 2).sum(1).mean(), (rows - mean).T @ (rows - mean) / len(rows)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_against_two_pass_reference(rng, dtype):
    rows = (unit_rows(rng, 5000, 17, shift=0.3) * rng.uniform(0.5, 2, (5000, 1))).astype(dtype)
    moments = stream_moments(as_rows(rows), covariance=True)
    mean, trace, covariance = reference(rows)
    np.testing.assert_allclose(moments.mean, mean, atol=1e-12)
    assert abs(moments.trace - trace) < 1e-12
    np.testing.assert_allclose(moments.covariance, covariance, atol=1e-12)
    assert abs(np.trace(moments.covariance) - moments.trace) < 1e-12


def test_merge_is_associative_and_order_free(rng):
    rows = unit_rows(rng, 900, 8, shift=0.5)
    parts = [stream_moments(as_rows(part), covariance=True) for part in np.split(rows, [100, 101, 640])]
    whole = stream_moments(as_rows(rows), covariance=True)
    left = parts[0].merge(parts[1]).merge(parts[2]).merge(parts[3])
    right = parts[3].merge(parts[2].merge(parts[0].merge(parts[1])))
    for merged in (left, right):
        assert merged.count == whole.count
        np.testing.assert_allclose(merged.mean, whole.mean, atol=1e-12)
        np.testing.assert_allclose(merged.covariance, whole.covariance, atol=1e-12)


def test_merge_refuses_other_dimensions():
    with pytest.raises(ValueError):
        Moments.empty(3).merge(Moments.empty(4))


@pytest.mark.parametrize("value, word", [(np.nan, "NaN"), (np.inf, "NaN or infinity"), (0.0, "zero")])
def test_unusable_rows_are_named(rng, value, word):
    rows = unit_rows(rng, 5000, 6)
    rows[4321] = value
    with pytest.raises(RevisionError, match=f"row 4321 .*{word}"):
        stream_moments(as_rows(rows))


def test_input_is_not_changed(rng):
    rows = 3 * unit_rows(rng, 50, 6)
    before = rows.copy()
    stream_moments(as_rows(rows), covariance=True)
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("covariance", [False, True])
def test_spans_and_blocks_do_not_change_the_result(rng, monkeypatch, covariance):
    rows = as_rows(unit_rows(rng, 1000, 8, shift=0.4))
    whole = stream_moments(rows, covariance=covariance)
    monkeypatch.setattr("revision_plugin.embeddings.moments.SPAN_BYTES", 8 * 8 * 130)
    monkeypatch.setattr("revision_plugin.embeddings.rows.BLOCK_BYTES", 8 * 8 * 7)
    parts = stream_moments(rows, covariance=covariance)
    np.testing.assert_allclose(parts.flat(), whole.flat(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("covariance", [False, True])
def test_isotropic_maps_stream_as_if_the_rows_were_mapped(rng, dtype, covariance):
    rows = (unit_rows(rng, 700, 12, shift=0.4) * rng.uniform(0.5, 2, (700, 1))).astype(dtype)
    mapping = IsotropicMap(0.7, rng.normal(size=12), 0.3 * rng.normal(size=(2, 12)))
    mapped = rows.astype(np.float64)
    for scale, shift in zip((0.7, 1, 1), mapping.constants):
        mapped = scale * mapped / np.linalg.norm(mapped, axis=1, keepdims=True) + shift
    moments = stream_moments(as_rows(rows), covariance=covariance, transform=mapping)
    mean, trace, cov = reference(mapped)
    np.testing.assert_allclose(moments.mean, mean, atol=1e-12)
    assert abs(moments.trace - trace) < 1e-12
    if covariance:
        np.testing.assert_allclose(moments.covariance, cov, atol=1e-12)


@pytest.mark.parametrize("count, period", [(100, 10), (103, 10), (19, 10), (7, 2)])
def test_every_nth_row_and_the_others(count, period):
    whole = as_rows(np.arange(count, dtype=float)[:, None])
    chosen, others = (EveryNth(whole, period, chosen=c) for c in (True, False))
    for part in (chosen, others):
        expected = [i for i in range(count) if ((i + 1) % period == 0) == (part is chosen)]
        assert len(part) == len(expected)
        for start, stop in ((0, None), (1, 4), (3, 1000), (2, 2)):
            blocks = list(part.blocks(4, start, stop))
            assert np.concatenate([*blocks, np.zeros((0, 1))])[:, 0].tolist() == expected[start:stop]


def test_large_half_precision_rows_do_not_overflow():
    rows = np.full((4, 512), 60000, np.float16)
    np.testing.assert_allclose(stream_moments(as_rows(rows)).mean, np.full(512, 512**-0.5), atol=1e-12)


def test_memory_does_not_grow_with_the_rows(tmp_path):
    """Address space holds the mapped file; the process' own memory must not."""
    rows = np.zeros((20000, 512), np.float32)
    rows[:, 0] = 1
    write_store(tmp_path / "big", rows, chunk=5000)
    code = (
        "import sys, resource, torch\n"
        "from revision_plugin.embeddings.moments import stream_moments\n"
        "from revision_plugin.embeddings.store import Store\n"
        "anonymous = lambda: next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('RssAnon'))\n"
        "store = Store.open(sys.argv[1])\n"
        "stream_moments(store.__class__.open(sys.argv[2]))\n"
        "before = anonymous(); stream_moments(store); print(anonymous() - before)"
    )
    write_store(tmp_path / "small", rows[:100])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "big"), str(tmp_path / "small")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20_000, "kB of growth, where the rows alone would take 40,000"
