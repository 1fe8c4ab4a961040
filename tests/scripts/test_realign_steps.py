"""The picture of ReAlign's steps shows what the fit does."""

import sys

import numpy as np

from scripts import realign_steps


def test_the_gap_after_each_step(rng):
    texts, images = (realign_steps.on_the_circle(rng, *where) for where in (realign_steps.TEXTS, realign_steps.IMAGES))
    made = realign_steps.steps(texts, images)
    raw, moved, projected, last = (np.linalg.norm(rows.mean(0) - images.mean(0)) for rows in made.values())
    assert raw > 0.5 and moved < 1e-9 < last < projected < raw
    spread = [np.square(rows - rows.mean(0)).sum(1).mean() for rows in (made["1 and 2: moved and scaled"], images)]
    assert np.isclose(*spread)
    off_the_circle = [np.abs(np.linalg.norm(rows, axis=1) - 1).max() > 1e-6 for rows in made.values()]
    assert off_the_circle == [False, True, False, False]


def test_the_picture_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["realign_steps", "--out", str(tmp_path / "new")])
    realign_steps.main()
    assert (tmp_path / "new" / "realign-steps.png").stat().st_size > 10_000
