import subprocess
import sys
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from conftest import unit_rows, write_store
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from revision_plugin.aligners import ALIGNERS
from revision_plugin.aligners.base import unit
from revision_plugin.embeddings.maps import IsotropicMap, LinearMap
from revision_plugin.embeddings.moments import Moments, stream_moments
from revision_plugin.embeddings.rows import ArrayRows, EveryNth, RandomRows, as_rows
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


def exact_covariance(rows, pairs):
    """Entries of the covariance of unit-norm rows, with 30 digits: numpy's float64 sums would hide errors as large."""
    with localcontext() as context:
        context.prec = 30
        values = [[Decimal(float(value)) for value in row] for row in rows]
        norms = [sum(value * value for value in row).sqrt() for row in values]
        unit = [[value / norm for value in row] for row, norm in zip(values, norms)]
        means = [sum(column) / len(unit) for column in zip(*unit)]
        return [float(sum((row[i] - means[i]) * (row[j] - means[j]) for row in unit) / len(unit)) for i, j in pairs]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("spread", [1e-3, 3e-2])
def test_a_large_mean_and_a_tiny_variance_keep_their_digits(rng, dtype, spread):
    """Rows close around one direction: of the outer products nearly all cancels against the mean's."""
    rows = (np.r_[2.0, 1.0, -0.5, np.zeros(5)] + spread * rng.normal(size=(700, 8))).astype(dtype)
    pairs = [(i, j) for i in range(8) for j in range(i, 8)]
    covariance = stream_moments(as_rows(rows), covariance=True).covariance
    expected = exact_covariance(rows, pairs)
    np.testing.assert_allclose([covariance[pair] for pair in pairs], expected, rtol=0, atol=1e-15)
    assert 1e-8 < np.abs(expected).max() < 1.1 * spread**2, "so that six digits are right at least"


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_null_directions_of_few_rows_stay_null(rng, dtype):
    """What float32 products leave there would be inverted by the methods that whiten."""
    rows = unit_rows(rng, 60, 96, shift=0.2).astype(dtype)
    values = np.linalg.eigvalsh(stream_moments(as_rows(rows), covariance=True).covariance)
    floor = np.finfo(float).eps * values.max() * len(values)
    assert np.abs(values[:37]).max() < floor < 1e-6 * values[37]


def test_covariances_are_symmetric_to_the_last_bit(rng):
    outer = stream_moments(as_rows(unit_rows(rng, 500, 70, shift=0.2).astype(np.float16)), covariance=True).outer
    np.testing.assert_array_equal(outer, outer.T)


@pytest.mark.parametrize("covariance", [False, True])
@pytest.mark.parametrize("transform", [None, unit], ids=["rows", "mapped"])
def test_the_number_of_threads_does_not_change_a_bit(rng, monkeypatch, covariance, transform):
    rows = as_rows(unit_rows(rng, 4000, 48, shift=0.4).astype(np.float16))
    monkeypatch.setattr("revision_plugin.embeddings.moments.SPAN_BYTES", 8 * 48 * 500)
    usual, sums = torch.get_num_threads(), []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        with threadpool_limits(threads, user_api="blas"):
            sums.append(stream_moments(rows, covariance=covariance, transform=transform).flat())
        assert torch.get_num_threads() == threads
    torch.set_num_threads(usual)
    np.testing.assert_array_equal(*sums)


def test_threads_of_numpys_products_are_given_back(rng):
    """Also after a row that stops the pass."""
    blas = lambda: [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]  # noqa: E731
    with threadpool_limits(2, user_api="blas"):
        before = blas()
        stream_moments(as_rows(unit_rows(rng, 50, 6)), covariance=True)
        with pytest.raises(RevisionError, match="row 3"):
            stream_moments(as_rows(np.where(np.arange(9)[:, None] == 3, np.nan, np.ones((9, 4)))), covariance=True)
        assert before and blas() == before


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 90),
    dim=st.integers(1, 9),
    span=st.integers(1, 100),
    block=st.integers(1, 40),
    product=st.integers(1, 5),
    shard=st.integers(1, 50),
    seed=st.integers(0, 9),
)
def test_how_rows_are_cut_does_not_matter(count, dim, span, block, product, shard, seed):
    rows = unit_rows(np.random.default_rng(seed), count, dim, shift=0.3).astype(np.float16)

    class Shards(ArrayRows):
        """Blocks end where a shard does, as a store's do."""

        def blocks(self, rows, start=0, stop=None):
            stop = len(self) if stop is None else min(stop, len(self))
            for first in range(start // shard * shard, stop, shard):
                yield from super().blocks(rows, max(first, start), min(first + shard, stop))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("revision_plugin.embeddings.moments.SPAN_BYTES", 8 * dim * span)
        patch.setattr("revision_plugin.embeddings.float64_blocks.BLOCKS_OF_A_PRODUCT", product)
        patch.setattr("revision_plugin.embeddings.rows.BLOCK_BYTES", 8 * dim * block)
        moments = stream_moments(Shards(rows), covariance=True)
    mean, _, covariance = reference(rows)
    assert moments.count == count
    np.testing.assert_allclose(moments.mean, mean, atol=1e-14)
    np.testing.assert_allclose(moments.covariance, covariance, atol=1e-14)


def test_moments_of_the_rows_that_are_left_have_their_covariance(rng):
    rows = as_rows(unit_rows(rng, 1200, 9, shift=0.5).astype(np.float16))
    chosen, others = (stream_moments(EveryNth(rows, 10, chosen=c), covariance=True) for c in (True, False))
    left = stream_moments(rows, covariance=True).minus(chosen)
    assert left.count == others.count
    np.testing.assert_allclose(left.covariance, others.covariance, atol=1e-14)


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


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("shifts", [0, 1, 3])
@pytest.mark.parametrize("covariance", [False, True])
def test_linear_maps_stream_as_if_the_rows_were_mapped(rng, monkeypatch, anchored, shifts, covariance):
    rows = (unit_rows(rng, 700, 12, shift=0.4) * rng.uniform(0.5, 2, (700, 1))).astype(np.float16)
    linear = rng.normal(size=(12, 12))
    linear[:, 3] = linear[:, 4]  # singular, as the maps of few rows are
    mapping = LinearMap(
        -rng.normal(size=12), anchored, linear, rng.normal(size=12), 0.3 * rng.normal(size=(shifts, 12))
    )
    n = lambda z: z / np.linalg.norm(z, axis=1, keepdims=True)  # noqa: E731
    mapped = n(rows.astype(np.float64)) + mapping.before
    mapped = n((n(mapped) if anchored else mapped) @ linear.T + mapping.offset)
    for shift in mapping.shifts:
        mapped = n(mapped + shift)
    monkeypatch.setattr("revision_plugin.embeddings.maps.PANEL", 5)
    moments = stream_moments(as_rows(rows), covariance=covariance, transform=mapping)
    mean, trace, cov = reference(mapped)
    np.testing.assert_allclose(moments.mean, mean, atol=1e-12)
    assert abs(moments.trace - trace) < 1e-12
    if covariance:
        np.testing.assert_allclose(moments.covariance, cov, atol=1e-12)


@pytest.mark.parametrize("method", ["bc", "monge"])
def test_an_aligners_linear_map_is_its_map(rng, method):
    source, target = unit_rows(rng, 500, 9, shift=0.3), unit_rows(rng, 400, 9, shift=-0.4)
    aligner = ALIGNERS.get(method)().fit(source, target)
    assert isinstance(aligner.mapping, LinearMap)
    np.testing.assert_allclose(
        stream_moments(as_rows(source), transform=aligner.mapping).mean, aligner.transform(source).mean(0), atol=1e-12
    )


def test_a_row_that_a_linear_map_takes_to_zero_is_named(rng):
    rows, zeros = np.eye(4)[np.arange(40) % 3], np.zeros(4)
    for anchored in (False, True):
        mapping = LinearMap(zeros, anchored, np.diag([1.0, 1.0, 0.0, 1.0]), zeros, zeros[None])
        with pytest.raises(RevisionError, match="rows 0 to 39, one is mapped to zero"):
            stream_moments(as_rows(rows), transform=mapping)


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


@pytest.mark.parametrize("count, drawn", [(100, 30), (100, 100), (7, 9)])
def test_random_rows_are_drawn_once_each_and_stay_in_order(count, drawn):
    whole = as_rows(np.arange(count, dtype=float)[:, None])
    read = lambda sample, *span: [int(v) for block in sample.blocks(4, *span) for v in block[:, 0]]  # noqa: E731
    sample = RandomRows(whole, drawn, 1)
    values = read(sample)
    assert len(sample) == len(values) == len(set(values)) == min(count, drawn) and values == sorted(values)
    for span in ((0, 5), (3, 1000), (6, None), (2, 2)):
        assert read(sample, *span) == values[slice(*span)]
    assert read(RandomRows(whole, drawn, 1)) == values
    assert (read(RandomRows(whole, drawn, 2)) == values) == (drawn >= count)


def test_large_half_precision_rows_do_not_overflow():
    rows = np.full((4, 512), 60000, np.float16)
    np.testing.assert_allclose(stream_moments(as_rows(rows)).mean, np.full(512, 512**-0.5), atol=1e-12)


@pytest.mark.parametrize("arguments", ["store", "store, covariance=True"])
def test_memory_does_not_grow_with_the_rows(tmp_path, arguments):
    """Address space holds the mapped files; the process' own memory must not, at its highest."""
    rows = np.zeros((80000, 512), np.float16)
    rows[:, 0] = 1
    write_store(tmp_path / "big", rows, dtype="float16", chunk=5000)
    write_store(tmp_path / "small", rows[:8000], dtype="float16", chunk=5000)
    code = (
        "import sys, torch\n"
        "from revision_plugin.embeddings import moments\n"
        "from revision_plugin.embeddings.store import Store\n"
        "anonymous = lambda: next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('RssAnon'))\n"
        "check, seen = moments._check_norms, []\n"
        "moments._check_norms = lambda *a: (seen.append(anonymous()), check(*a))\n"
        "moments.SPAN_BYTES = 2**22\n"
        "torch.set_num_threads(2)\n"
        "peaks = []\n"
        "for path in sys.argv[1:]:\n"
        "    store, seen[:] = Store.open(path), []\n"
        f"    moments.stream_moments({arguments})\n"
        "    peaks.append(max(seen))\n"
        "print(peaks[-1] - peaks[0])"
    )
    stores = [str(tmp_path / name) for name in ("small", "small", "big")]
    done = subprocess.run([sys.executable, "-c", code, *stores], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 36_000, "kB of growth, where the further rows alone would take 73,000"
