import numpy as np
import pytest
from conftest import unit_rows

from revision_plugin.errors import RevisionError
from revision_plugin.moments import Moments, as_rows, stream_moments


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
