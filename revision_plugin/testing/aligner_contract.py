"""What every aligner keeps to."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from sklearn.base import clone

from ..aligners import ALIGNERS, Aligner, load_aligner
from ..errors import RevisionError

ROWS, DIM = 240, 16


def clouds(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unpaired unit-norm rows [240, 16] and [200, 16], float64, of two corpora that differ in mean and in spread."""
    rng = np.random.default_rng(seed)
    spreads = np.linspace(1.5, 0.2, DIM), np.linspace(0.4, 1.2, DIM)
    rows = [rng.normal(size=(count, DIM)) * s + m for count, s, m in zip((ROWS, ROWS - 40), spreads, (0.4, -0.3))]
    source, target = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in rows)
    return source, target


def check_aligner(aligner: Aligner) -> None:
    """Check an unfitted aligner: options, what `transform` gives back, that nothing is changed, saving and opening.

    It must be registered under its `method`. Raises AssertionError where the contract is broken.
    """
    assert ALIGNERS.get(aligner.method) is type(aligner), f"'{aligner.method}' is registered for this class"
    _check_options(aligner)
    source, target = clouds()
    try:
        aligner.transform(source)
    except RevisionError:
        pass
    else:
        raise AssertionError("transform before fit raises RevisionError")
    source_copy = source.copy()
    assert aligner.fit(source, target, seed=1) is aligner, "fit returns the aligner"
    np.testing.assert_array_equal(source, source_copy, err_msg="fit leaves its input as it is")
    _check_transform(aligner, source)
    again = clone(aligner).fit(source, target, seed=1)
    np.testing.assert_array_equal(again.transform(source), aligner.transform(source), err_msg="one seed, one result")
    _check_saving(aligner, source)


def _check_options(aligner: Aligner) -> None:
    options = aligner.get_params()
    twin = clone(aligner)
    assert twin is not aligner and twin.get_params() == options, "sklearn.base.clone gives the same options"
    assert aligner.set_params(**options) is aligner, "set_params returns the aligner"
    optional = {each.name for each in fields(aligner) if each.default is None}  # type: ignore[arg-type]
    for name, value in options.items():
        if isinstance(value, (bool, int, float)) or name in optional:
            for wrong in ("a word", float("nan"), *([] if name in optional else [None])):
                try:
                    type(aligner)(**{**options, name: wrong})
                except RevisionError:
                    continue
                raise AssertionError(f"option {name}={wrong!r} raises RevisionError")


def _check_transform(aligner: Aligner, source: np.ndarray) -> None:
    assert aligner.dim == source.shape[1]
    for dtype, expected in ((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)):
        x = source.astype(dtype)
        x_copy = x.copy()
        out = aligner.transform(x)
        assert isinstance(out, np.ndarray) and out.dtype == expected and out.shape == x.shape
        np.testing.assert_array_equal(x, x_copy, err_msg="transform leaves its input as it is")
        np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, atol=1e-5, err_msg="rows have unit norm")
        tensor = aligner.transform(torch.from_numpy(x.copy()))
        assert isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu"
        np.testing.assert_array_equal(tensor.numpy(), out, err_msg="a tensor and an array align alike")
    np.testing.assert_allclose(aligner.transform(3 * source), aligner.transform(source), atol=1e-9, err_msg="scale")
    assert aligner.transform(source[:0]).shape == (0, source.shape[1]), "no rows give no rows"
    for wrong in (source[:, :-1], source[0], np.zeros_like(source), np.full_like(source, np.nan), source.astype(int)):
        try:
            aligner.transform(wrong)
        except RevisionError:
            continue
        raise AssertionError(f"rows of shape {wrong.shape} that cannot be aligned raise RevisionError")


def _check_saving(aligner: Aligner, source: np.ndarray) -> None:
    identity = aligner.identity
    with tempfile.TemporaryDirectory() as folder:
        aligner.save(Path(folder) / "aligner")
        opened = load_aligner(Path(folder) / "aligner")
        assert type(opened) is type(aligner) and opened.get_params() == aligner.get_params()
        assert opened.identity == identity and opened.report == aligner.report
        np.testing.assert_array_equal(
            opened.transform(source), aligner.transform(source), err_msg="opened aligns alike"
        )
