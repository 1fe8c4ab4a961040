"""Trackers of the commands: what they draw, where, and what is refused."""

import contextlib
import importlib.util
import json
import sqlite3

import pytest
from conftest import refuse, run, run_revision

from revision_plugin._common import trackers
from revision_plugin.aligners import load_aligner
from revision_plugin.embeddings.store import Store
from revision_plugin.errors import RevisionError
from revision_plugin.hosts.curves import require_tracker


def drawn(folder):
    """tensorboard's curves under a folder: by name a list of (step, value)."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder)).Reload()
    return {name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_encode_draws_its_rate_and_fit_its_report(world_files, stores, tmp_path):
    pytest.importorskip("tensorboard")
    words = ("--report-to", "tensorboard")
    run("encode", "--encoder", "demo", "--texts", world_files / "texts.json", "--out", tmp_path / "texts", *words)
    store = Store.open(tmp_path / "texts")
    assert store.manifest.content_hash == Store.open(stores / "texts").manifest.content_hash
    ((step, rate),) = drawn(tmp_path / "runs" / "encode-texts")["items_per_second"]
    assert step == len(store) and rate > 0
    fit = ("fit", "--source", store.path, "--target", stores / "images", "--out", tmp_path / "aligner")
    run(*fit, *words, "--run-name", "mine")
    report = load_aligner(tmp_path / "aligner").report
    found = drawn(tmp_path / "runs" / "mine")
    for name, value in {
        "centroid_gap_before": report.centroid_gap_before,
        "centroid_gap": report.centroid_gap,
        "held_out_centroid_gap": report.held_out.centroid_gap,
        "source_trace": report.source.trace,
        "target_trace": report.target.trace,
        "aligned_trace": report.aligned_trace,
    }.items():
        assert found[f"fit/{name}"] == [(0, pytest.approx(value))], name


def test_rate_is_what_was_done_by_the_time_it_took(monkeypatch):
    now, points = 100.0, []
    monkeypatch.setattr(trackers.time, "monotonic", lambda: now)

    class Log:
        def log(self, values, step):
            points.append((step, values))

    rate = trackers.Rate(Log(), "row")
    for seconds, count in ((4.0, 20), (6.0, 80), (5.0, 10)):
        now += seconds
        rate.advance(count)
    rate.log()
    rate.log()
    assert points == [(100, {"rows_per_second": 10.0}), (110, {"rows_per_second": 2.0})]


def test_wandb_and_trackio_without_a_network(stores, tmp_path, monkeypatch):
    for library in ("wandb", "trackio"):
        pytest.importorskip(library)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # trackio reads it when it is imported
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers
    fit = ("fit", "--source", stores / "texts", "--target", stores / "images", "--out", tmp_path / "one")
    run_revision(*fit, "--report-to", "wandb", "trackio")
    assert len(list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))) == 1
    (database,) = (tmp_path / "trackio").glob("*.db")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        ((name, step, metrics),) = connection.execute("select run_name, step, metrics from metrics").fetchall()
    expected = load_aligner(tmp_path / "one").report.scalars
    assert (name, step, json.loads(metrics)) == ("fit-one", 0, pytest.approx(expected))


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    pytest.importorskip("tensorboard")
    with trackers.open_trackers(["tensorboard"], name="one", folder=tmp_path) as tracker:
        tracker.log({"a": 1.5, "b": float("nan"), "c": float("inf")}, 3)
        tracker.log({"a": 2.5}, 4)
    assert drawn(tmp_path / "runs" / "one") == {"a": [(3, 1.5), (4, 2.5)]}


def test_what_is_not_there_is_one_line(capsys, monkeypatch, tmp_path, stores):
    fit = ("fit", "--source", stores / "texts", "--target", stores / "images", "--out", tmp_path / "out")
    assert "'tensorbord' is no tracker; there are tensorboard, wandb, trackio" in refuse(
        capsys, *fit, "--report-to", "tensorbord"
    )
    assert "--run-name x: is for --report-to" in refuse(capsys, *fit, "--run-name", "x")
    find = importlib.util.find_spec
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "trackio" else find(name))
    assert "trackio is not installed; 'pip install trackio'" in refuse(capsys, *fit, "--report-to", "trackio")
    assert not (tmp_path / "out").exists() and not (tmp_path / "runs").exists()
    for value in ("trackio", ["trackio"]):
        with pytest.raises(RevisionError, match="trackio is not installed"):
            require_tracker(value)
    with pytest.raises(RevisionError, match="--report_to nowhere: no such tracker; there are .*tensorboard"):
        require_tracker("nowhere")
    for value in ("none", "all", [], None):
        require_tracker(value)
