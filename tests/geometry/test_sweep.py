"""The sweep over the frame's energy, against each frame worked out by itself, and what is said of all of them."""

import csv
import json

import numpy as np
import pytest
from conftest import refuse, run, unit_rows, write_store
from scipy.linalg import subspace_angles

from revision_plugin.errors import RevisionError
from revision_plugin.geometry import chance, measure, sweep
from revision_plugin.geometry.decomposition import Decomposition, Frame, Frames
from revision_plugin.geometry.measured import Numbers
from revision_plugin.geometry.pairs import Differences
from revision_plugin.geometry.shape import tyler_shape

DIM, COUNT = 16, 400


@pytest.fixture
def clouds(rng):
    """Pairs whose bias has its direction in one dimension of middling variance: in V of small frames, in U of large."""
    spreads = np.geomspace(1, 0.05, DIM)
    texts = rng.normal(size=(COUNT, DIM)) * spreads
    images = texts + 0.3 * rng.normal(size=(COUNT, DIM)) * spreads + 0.6 * np.eye(DIM)[7]
    return tuple(z / np.linalg.norm(z, axis=1, keepdims=True) for z in (texts, images))


@pytest.fixture
def stores(tmp_path, clouds):
    write_store(tmp_path / "texts", clouds[0])
    write_store(tmp_path / "images", clouds[1], modality="image")
    return tmp_path


def geometry(root, *flags):
    run("geometry", "--source", root / "texts", "--target", root / "images", "--out", root / "report", *flags)
    return json.loads((root / "report" / "metrics.json").read_text())


def test_every_energy_is_as_its_own_frame(clouds):
    texts, images = clouds
    difference = images - texts
    covariances = [np.cov(z.T, bias=True) for z in clouds]
    moments = Differences(COUNT, difference.mean(0), np.cov(difference.T, bias=True))
    energies = (0.99, 0.6, 0.9)
    numbers = sweep.measure_sweep(Frames.of(*covariances), energies, moments, difference, seed=0)
    assert list(numbers.metrics) == ["0.6", "0.9", "0.99"]
    values, vectors = np.linalg.eigh(sum(covariances))
    for energy in energies:
        found = numbers.metrics[f"{energy:g}"]
        rank = next(k for k in range(1, DIM) if values[::-1][:k].sum() >= energy * values.sum())
        u, v = vectors[:, ::-1][:, :rank], vectors[:, ::-1][:, rank:]
        mean, centred = difference.mean(0), difference - difference.mean(0)
        inside, outside = np.square(mean @ u).sum(), np.square(mean @ v).sum()
        assert (found["rank"], found["PMB"], found["COB"]) == (rank, pytest.approx(inside), pytest.approx(outside))
        assert found["COB_share"] == pytest.approx(outside / (inside + outside))
        coverage = np.square(centred @ u).sum() / np.square(centred).sum()
        assert found["residual_coverage_U"] == pytest.approx(coverage)
        assert found["condition_U"] == pytest.approx(np.linalg.cond(np.cov((centred @ u).T)))
        shape = tyler_shape(centred @ v, tolerance=1e-8)  # from another start than the sweep's
        assert found["condition_V"] == pytest.approx(np.linalg.cond(shape), rel=1e-2)
        main = np.linalg.eigh(shape)[1][:, -1:]
        angle = np.degrees(subspace_angles(main, (mean @ v)[:, None])[0])
        assert found["bias_angle"] == pytest.approx(angle, abs=0.5)
        alone = Decomposition.of(Frame.of(*covariances, energy=energy), mean, moments.covariance)
        assert (found["coupling_norm"], found["coupling_R2"]) == pytest.approx(alone.coupling(count=COUNT))
        assert found["condition_V_isotropic"] == chance.isotropic_condition(COUNT, DIM - rank)
        assert (found["bias_angle_chance"], found["bias_angle_chance_low"]) == chance.random_angle(DIM - rank)


def test_the_report_says_the_sweep_everywhere(stores):
    result = geometry(stores, "--pairs")
    frames = result["sweep"]["frames"]
    assert [frame["energy"] for frame in frames] == list(sweep.ENERGIES)
    assert frames[0]["COB_share"] > 0.9 and frames[-1]["COB_share"] < 0.1, "the world that is built has it so"
    own = {key: value for key, value in frames[2].items() if key in result["metrics"]["source"]}
    assert len(own) > 8
    for name, value in own.items():
        assert result["metrics"]["source"][name] == pytest.approx(value, rel=1e-2), name
    report = (stores / "report" / "report.md").read_text()
    table = next(part for part in report.split("\n\n") if part.startswith("| energy of U | rank of U |"))
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == [f"{e:g}" for e in sweep.ENERGIES]
    (line,) = (line for line in report.splitlines() if line.startswith("| more than half of the squared bias"))
    held = [f"{frame['energy']:g}" for frame in frames if frame["COB_share"] > 0.5]
    assert f"depends on the energy: holds at {', '.join(held)}; does not hold at" in line
    assert result["sweep"]["statements"][sweep.STATEMENTS[0].words] in line
    assert "(sweep.png)" in report and (stores / "report" / "sweep.svg").stat().st_size > 5000
    with open(stores / "report" / "metrics.csv", newline="") as file:
        cells = {(row["cloud"], row["metric"]): row["value"] for row in csv.DictReader(file)}
    assert float(cells["source", "COB@0.95"]) == next(f["COB"] for f in frames if f["energy"] == 0.95)
    assert float(cells["source", "COB"]) == result["metrics"]["source"]["COB"], "the main energy keeps its name"


def test_the_flag_and_what_is_not_asked_for(stores, capsys):
    result = geometry(stores, "--pairs", "--sweep", 0.95, 0.7, "--energy", 0.8)
    assert [frame["energy"] for frame in result["sweep"]["frames"]] == [0.7, 0.95]
    assert result["settings"]["energy"] == 0.8
    (stores / "report").rename(stores / "before")
    assert "sweep" not in geometry(stores)
    assert "several energies" not in (stores / "report" / "report.md").read_text()
    words = "geometry", "--source", stores / "texts", "--target", stores / "images", "--out", stores / "other"
    assert "0.9 stands twice in the sweep" in refuse(capsys, *words, "--pairs", "--sweep", 0.9, 0.8, 0.9)
    assert "a number above 0 and up to 1 is needed, not 0" in refuse(capsys, *words, "--pairs", "--sweep", 0.9, 0)
    assert "a number above 0 and up to 1 is needed, not 1.2" in refuse(capsys, *words, "--pairs", "--sweep", 1.2)
    assert "--sweep: only pairs are measured" in refuse(capsys, *words, "--sweep", 0.9)
    for energies, message in (((), "no energy"), ((1.5,), "share of the variance"), ((0.5, 0.5), "stands twice")):
        with pytest.raises(RevisionError, match=message):
            sweep.check_energies(energies)


def test_frames_that_leave_nothing_in_v_are_said_to(stores):
    result = geometry(stores, "--pairs", "--sweep", 0.9, 1)
    first, last = result["sweep"]["frames"]
    assert (
        first["skipped"] == {}
        and last["rank"] == DIM
        and last["skipped"]["condition_V"] == "V has fewer than 2 dimensions"
    )
    assert "condition_V" not in last and last["COB"] == pytest.approx(0, abs=1e-12)
    report = (stores / "report" / "report.md").read_text()
    assert "energy 1: condition_V" in report.split("## Not measured")[1]
    assert "not measured at 1" in report


def verdict_of(shares):
    numbers = Numbers({f"{k}": {} if share is None else {"COB_share": share} for k, share in enumerate(shares)})
    return sweep.verdict(numbers, sweep.STATEMENTS[0])


def test_verdicts_are_of_all_energies():
    assert verdict_of([0.9, 0.6]) == "holds at all of the energies"
    assert verdict_of([0.1, 0.5]) == "holds at none of the energies"
    assert verdict_of([0.9, 0.1, 0.6]) == "depends on the energy: holds at 0, 2; does not hold at 1"
    assert verdict_of([0.9, None]) == "depends on the energy: holds at 0; not measured at 1"
    assert verdict_of([None]) == "not measured"


def test_one_decomposition_of_eigenvalues_serves_all_frames(stores, monkeypatch):
    calls, directions = [], measure.Frames.of.__func__.__globals__["directions"]

    def counted(covariance):
        calls.append(covariance.shape)
        return directions(covariance)

    monkeypatch.setattr("revision_plugin.geometry.decomposition.directions", counted)
    geometry(stores, "--pairs")
    assert calls == [(DIM, DIM)]


def test_the_noise_is_that_of_the_whole_sample(tmp_path, rng):
    """The first rows of the corpus have another shape than the rest, which only a sample of all rows sees."""
    texts = unit_rows(rng, 1200, 6)
    noise = rng.normal(size=(1200, 6)) * np.where(
        np.arange(1200)[:, None] < 100, [1, 1, 1, 1, 1, 9], [9, 1, 1, 1, 1, 1]
    )
    images = texts + 0.02 * noise
    write_store(tmp_path / "texts", texts)
    write_store(tmp_path / "images", images / np.linalg.norm(images, axis=1, keepdims=True), modality="image")
    result = geometry(tmp_path, "--pairs", "--energy", 0.3, "--sweep", 0.3)
    difference = images / np.linalg.norm(images, axis=1, keepdims=True) - texts
    frame = Frame.of(np.cov(texts.T, bias=True), np.cov((texts + difference).T, bias=True), energy=0.3)
    of_all, of_first = (
        np.linalg.cond(tyler_shape((difference - difference.mean(0))[:rows] @ frame.v)) for rows in (1200, 30)
    )
    assert result["metrics"]["source"]["condition_V"] == pytest.approx(of_all, rel=0.02)
    assert abs(of_all / of_first - 1) > 0.2


def test_isotropic_rows_are_not_round_when_they_are_few():
    for rows, dim in ((4000, 40), (400, 40), (120, 40)):
        edge = np.sqrt(dim / rows)
        assert chance.isotropic_condition(rows, dim, seed=1) == pytest.approx(((1 + edge) / (1 - edge)) ** 2, rel=0.15)
    assert chance.isotropic_condition(400, 40, seed=1) == chance.isotropic_condition(400, 40, seed=1)
    assert chance.isotropic_condition(400, 40, seed=1) != chance.isotropic_condition(400, 40, seed=2)


def test_the_angle_of_a_random_direction(rng):
    """By hand in 2 and 3 dimensions (uniform; density sin), by drawing in more."""
    assert chance.random_angle(2) == pytest.approx((45, 4.5))
    assert chance.random_angle(3) == pytest.approx((np.degrees(1), np.degrees(np.arccos(0.95))))
    for dim in (10, 167):
        drawn = rng.normal(size=(40000, dim))
        angles = np.degrees(np.arccos(np.abs(drawn[:, 0]) / np.linalg.norm(drawn, axis=1)))
        assert chance.random_angle(dim) == pytest.approx((angles.mean(), np.quantile(angles, 0.05)), abs=0.2)
