"""The gap at a projector's output, against values worked out in numpy, without torch and without streaming."""

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import unit_rows, write_store
from scipy.special import erf

from revision_plugin.aligners import ALIGNERS
from revision_plugin.embeddings.store import Store
from revision_plugin.encoders import Identity
from revision_plugin.errors import NotMeasurable, RevisionError
from revision_plugin.geometry import raw_cloud
from revision_plugin.geometry.projected import measure_projected
from revision_plugin.geometry.projected_report import write_projected

DIM, WIDTH, COUNT, VOCABULARY = 10, 16, 240, 30
TEST_ENCODER = Identity("test", "0" * 64)


@dataclass
class Space:
    projector: torch.nn.Module
    tokens: torch.Tensor


@dataclass
class Checkpoint:
    name: str
    space: Space
    aligner: object
    step: int | None = 5
    training: str = "training"
    own_aligner: bool = True
    path: Path = field(default_factory=lambda: Path("checkpoint"))

    def load(self):
        return self.space


@pytest.fixture
def weights(rng):
    """Two layers, whose bias moves the outputs far from zero, and a table of tokens."""
    shapes = (WIDTH, DIM), (WIDTH,), (WIDTH, WIDTH), (WIDTH,), (VOCABULARY, WIDTH)
    first, first_bias, second, second_bias, tokens = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    return first, first_bias, second, second_bias + 3, 0.1 * tokens


def space_of(weights):
    first, first_bias, second, second_bias, tokens = map(torch.from_numpy, weights)
    projector = torch.nn.Sequential(torch.nn.Linear(DIM, WIDTH), torch.nn.GELU(), torch.nn.Linear(WIDTH, WIDTH))
    state = {"0.weight": first, "0.bias": first_bias, "2.weight": second, "2.bias": second_bias}
    projector.load_state_dict(state)
    return Space(projector, tokens.clone())


def projected(weights, rows):
    """The projector in numpy: exact GELU between two layers."""
    first, first_bias, second, second_bias, _ = (each.astype(np.float64) for each in weights)
    hidden = rows @ first.T + first_bias
    return (hidden * (1 + erf(hidden / math.sqrt(2))) / 2) @ second.T + second_bias


@pytest.fixture
def clouds(rng, tmp_path):
    """Texts, and images that are paired to them in another order; both stores and the rows as they are stored."""
    texts = unit_rows(rng, COUNT, DIM)
    images = texts + 0.4 * unit_rows(rng, COUNT, DIM, 1.0)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    order = rng.permutation(COUNT)
    write_store(tmp_path / "texts", texts, chunk=70)
    write_store(tmp_path / "images", images[order], modality="image", ids=[f"row-{i}" for i in order], chunk=70)
    stores = [Store.open(tmp_path / name) for name in ("texts", "images")]
    return (*stores, texts.astype(np.float32).astype(float), images.astype(np.float32).astype(float))


@pytest.fixture
def realign(clouds):
    return ALIGNERS.get("realign")().fit(clouds[2], clouds[3], encoder=TEST_ENCODER, held_out=0)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_hand(texts, images, tokens):
    """Everything the report says of text-made visual tokens, by its definition."""
    mean, there, table = texts.mean(0), images.mean(0), tokens.mean(0)
    cov, cov_there = np.cov(texts.T, bias=True), np.cov(images.T, bias=True)
    trace, token_trace = np.trace(cov_there), np.square(tokens - table).sum(1).mean()
    values = np.linalg.eigvalsh(cov)
    shares = values / values.sum()
    lengths = [np.linalg.norm(rows, axis=1) for rows in (texts, images, tokens)]
    union, is_image = unit(np.concatenate([texts, images])), np.repeat([False, True], [len(texts), len(images)])
    cosines = union @ union.T - 9 * np.eye(len(union))
    nearest = np.argsort(-cosines, 1)[:, :20]
    with_tokens = unit(np.concatenate([texts, tokens]))
    near = np.argsort(-(with_tokens @ with_tokens.T - 9 * np.eye(len(with_tokens))), 1)[: len(texts), :20]
    axes = [np.linalg.eigh(each)[1][:, ::-1][:, :4] for each in (cov, cov_there)]
    return {
        "norm_mean": lengths[0].mean(),
        "norm_sd": lengths[0].std(),
        "centroid_norm": np.linalg.norm(mean),
        "trace": np.trace(cov),
        "effective_rank": np.exp(-(shares * np.log(shares)).sum()),
        "effective_dimension": values.sum() ** 2 / np.square(values).sum(),
        "centroid_gap": np.linalg.norm(mean - there),
        "relative_centroid_gap": np.linalg.norm(mean - there) / np.sqrt(trace),
        "centroid_cosine": mean @ there / np.linalg.norm(mean) / np.linalg.norm(there),
        "covariance_gap": np.linalg.norm(cov - cov_there) / np.linalg.norm(cov_there),
        "norm_ratio": lengths[0].mean() / lengths[1].mean(),
        "paired_cosine": (unit(texts) * unit(images)).sum(1).mean(),
        "mixing_rate": (is_image[nearest] != is_image[:, None]).mean(),
        "token_distance": np.linalg.norm(mean - table),
        "relative_token_distance": np.linalg.norm(mean - table) / np.sqrt(token_trace),
        "token_centroid_cosine": mean @ table / np.linalg.norm(mean) / np.linalg.norm(table),
        "token_norm_ratio": lengths[0].mean() / lengths[2].mean(),
        "nearest_token_cosine": (unit(texts) @ unit(tokens).T).max(1).mean(),
        "token_neighbours": (near >= len(texts)).mean(),
        "token_neighbours_by_chance": len(tokens) / (len(texts) + len(tokens) - 1),
        "O_4": np.square(axes[0].T @ axes[1]).sum() / 4,
    }


def test_metrics_are_their_definitions_in_numpy(clouds, weights, realign):
    source, target, texts, images = clouds
    checkpoint = Checkpoint("one", space_of(weights), realign)
    (measured,) = measure_projected(source, target, [checkpoint], pairs=True).checkpoints
    inputs = {"source": texts, "aligned": realign.transform(texts)}
    for cloud, rows in inputs.items():
        visual = [projected(weights, unit(each)) for each in (rows, images)]
        expected = by_hand(*visual, weights[-1].astype(float))
        found = {**measured.metrics[cloud], "O_4": measured.overlaps[cloud][4]}
        for metric, value in expected.items():
            assert found[metric] == pytest.approx(value, rel=2e-4, abs=2e-6), (cloud, metric)
        before = [unit(rows), unit(images)]
        gap = np.linalg.norm(before[0].mean(0) - before[1].mean(0))
        spread = np.sqrt(np.square(before[1] - before[1].mean(0)).sum(1).mean())
        assert found["gap_at_encoder"] == pytest.approx(gap / spread, abs=1e-6)
    tokens = weights[-1].astype(float)
    assert measured.metrics["tokens"]["norm_mean"] == pytest.approx(np.linalg.norm(tokens, axis=1).mean(), rel=1e-6)
    assert measured.metrics["tokens"]["trace"] == pytest.approx(np.trace(np.cov(tokens.T, bias=True)), rel=1e-5)
    assert not measured.skipped


def test_the_scale_of_the_outputs_changes_no_relative_number(clouds, weights, realign):
    source, target, *_ = clouds
    first, first_bias, second, second_bias, tokens = weights
    larger = space_of((first, first_bias, 1000 * second, 1000 * second_bias, tokens))
    both = [Checkpoint("one", space_of(weights), realign), Checkpoint("two", larger, realign)]
    one, two = (each.metrics["aligned"] for each in measure_projected(source, target, both).checkpoints)
    absolute = {"norm_mean", "norm_sd", "centroid_norm", "token_norm_ratio", "centroid_gap"}
    moved = absolute | {"trace", "token_distance", "relative_token_distance", "token_centroid_cosine"}
    for metric in one.keys() - moved:
        assert two[metric] == pytest.approx(one[metric], rel=1e-3), metric
    for metric in absolute:
        assert two[metric] == pytest.approx(1000 * one[metric], rel=1e-3), metric


def test_a_sample_is_seeded_and_pairs_stay_pairs(clouds, weights):
    source, target, *_ = clouds
    none = ALIGNERS.get("none")().fit(clouds[2], clouds[3], encoder=TEST_ENCODER, held_out=0)
    made = lambda seed: measure_projected(  # noqa: E731
        source, target, [Checkpoint("one", space_of(weights), none)], pairs=True, rows=60, seed=seed
    )
    first, again, other = (made(seed).checkpoints[0] for seed in (1, 1, 2))
    assert first.metrics == again.metrics != other.metrics
    assert first.metrics["aligned"] == first.metrics["source"], "no alignment"
    chosen = np.sort(np.random.default_rng(1).choice(COUNT, 60, replace=False))
    visual = [unit(projected(weights, rows[chosen])) for rows in clouds[2:]]
    assert first.metrics["source"]["paired_cosine"] == pytest.approx((visual[0] * visual[1]).sum(1).mean(), rel=1e-5)


def test_noise_of_an_aligner_is_that_of_training(clouds, weights):
    """C3 adds noise only while it trains, which spreads what the projector is given."""
    source, target, texts, images = clouds
    for sigma, wider in ((0.0, False), (0.2, True)):
        c3 = ALIGNERS.get("c3")(sigma=sigma).fit(texts, images, encoder=TEST_ENCODER, held_out=0)
        (measured,) = measure_projected(source, target, [Checkpoint("one", space_of(weights), c3)]).checkpoints
        still = np.trace(np.cov(projected(weights, c3.transform(texts)).T, bias=True))
        assert (measured.metrics["aligned"]["trace"] > 1.1 * still) == wider


def test_order_over_trainings_and_steps(clouds, weights, realign, tmp_path):
    """By training, then by step, whatever order the paths came in; what has no step comes last in its training."""
    source, target, *_ = clouds
    places = [("b/20", "b", 20), ("a/done", "a", None), ("b/3", "b", 3), ("a/100", "a", 100), ("a/9", "a", 9)]
    given = [Checkpoint(name, space_of(weights), realign, step, training) for name, training, step in places]
    result = measure_projected(source, target, given)
    assert [each.settings["name"] for each in result.checkpoints] == ["b/3", "b/20", "a/9", "a/100", "a/done"]
    assert write_projected(result, tmp_path / "out") == tmp_path / "out" / "report.md"
    report = (tmp_path / "out" / "report.md").read_text()
    rows = [line.split(" | ")[:3] for line in report.splitlines() if line.startswith("| b/3 ")]
    assert ["| b/3", "3", "aligned texts"] in rows and ["| b/3", "3", "token embeddings"] in rows
    assert "(over_steps.png)" in report and (tmp_path / "out" / "over_steps.svg").stat().st_size > 5000
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Over the steps" in page and "aligned texts, a" in page and page.count("lines+markers") >= 10
    assert all(f">{name}</th>" in page for name, *_ in places)
    saved = json.loads((tmp_path / "out" / "metrics.json").read_text())
    with open(tmp_path / "out" / "metrics.csv", newline="") as file:
        table = {(row["checkpoint"], row["cloud"], row["metric"]): row for row in csv.DictReader(file)}
    last = saved["checkpoints"][-1]
    assert last["step"] is None and table["a/done", "aligned", "trace"]["step"] == ""
    assert float(table["a/100", "source", "centroid_gap"]["value"]) == last["metrics"]["source"]["centroid_gap"]
    assert float(table["a/9", "source", "subspace_overlap_4"]["value"]) == last["subspace_overlap"]["source"]["4"]


def test_without_a_step_there_is_no_curve(clouds, weights, realign, tmp_path):
    source, target, *_ = clouds
    result = measure_projected(source, target, [Checkpoint("one", space_of(weights), realign, None)])
    write_projected(result, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.png"))
    assert "over_steps" not in (tmp_path / "out" / "report.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Over the steps" not in page and "relative centroid gap, one" in page


def test_rows_of_zeros_among_the_tokens_have_no_direction(clouds, weights, realign, tmp_path):
    source, target, *_ = clouds
    space = space_of(weights)
    space.tokens[[3, 7]] = 0
    result = measure_projected(source, target, [Checkpoint("one", space, realign)])
    (measured,) = result.checkpoints
    assert (measured.settings["tokens"], measured.settings["zero_tokens"]) == (VOCABULARY - 2, 2)
    kept = np.delete(weights[-1], [3, 7], 0)
    assert measured.metrics["tokens"]["norm_mean"] == pytest.approx(np.linalg.norm(kept, axis=1).mean(), rel=1e-5)
    write_projected(result, tmp_path / "out")
    assert "2 rows of zeros left out" in (tmp_path / "out" / "report.md").read_text()
    space.tokens[:] = 0
    with pytest.raises(RevisionError, match="all token embeddings are zero"):
        measure_projected(source, target, [Checkpoint("one", space, realign)])


def test_what_cannot_be_measured_is_marked(rng, weights, tmp_path):
    """A projector that gives one vector for everything, and rows too few for neighbours."""
    write_store(tmp_path / "texts", unit_rows(rng, 6, DIM))
    write_store(tmp_path / "images", unit_rows(rng, 7, DIM, 1.0), modality="image")
    stores = [Store.open(tmp_path / name) for name in ("texts", "images")]
    none = ALIGNERS.get("none")().fit(*stores, held_out=0)
    first, first_bias, second, second_bias, tokens = weights
    blind = space_of((0 * first, first_bias, second, second_bias, tokens))
    result = measure_projected(*stores, [Checkpoint("one", blind, none)])
    (measured,) = result.checkpoints
    assert measured.skipped["source"]["effective_rank"] == "the embeddings are constant"
    assert measured.skipped["source"]["covariance_gap"] == "the visual tokens are constant"
    assert "20 neighbours need at least 21 rows" in measured.skipped["aligned"]["mixing_rate"]
    write_projected(result, tmp_path / "out")
    report = (tmp_path / "out" / "report.md").read_text()
    assert "## Not measured" in report and "not measured |" in report


def test_what_no_report_is_made_of(clouds, weights, realign, rng):
    source, target, *_ = clouds

    def problem(space):
        with pytest.raises(RevisionError) as stopped:
            measure_projected(source, target, [Checkpoint("one", space, realign)])
        assert "\n" not in str(stopped.value)
        return str(stopped.value)

    narrow = Space(torch.nn.Sequential(torch.nn.Linear(DIM - 1, WIDTH)), torch.from_numpy(weights[-1]))
    assert "takes 9 dimensions, the stores have 10" in problem(narrow)
    silent = space_of((weights[0], weights[1], 0 * weights[2], 0 * weights[3], weights[4]))
    assert "zero or not finite" in problem(silent)
    loud = space_of((weights[0], weights[1], 1e38 * weights[2], weights[3], weights[4]))
    assert "zero or not finite" in problem(loud)
    with pytest.raises(RevisionError, match="at least one"):
        measure_projected(source, target, [])
    with pytest.raises(RevisionError, match="at least 2 rows"):
        measure_projected(source, target, [Checkpoint("one", narrow, realign)], rows=1)


def test_blocks_do_not_show(rng, monkeypatch):
    """Moments, covariance and nearest cosines of many blocks, a mean far from zero with little spread around it."""
    rows, table = 1e4 + rng.normal(size=(501, 7)), rng.normal(size=(33, 7))
    monkeypatch.setattr(raw_cloud, "block_rows", lambda dim: 1)
    monkeypatch.setattr(raw_cloud, "BLOCKS", 17)
    moments = raw_cloud.RawCloud.of(rows)
    assert moments.mean == pytest.approx(rows.mean(0), rel=1e-12)
    assert moments.trace == pytest.approx(np.trace(np.cov(rows.T, bias=True)), rel=1e-9)
    assert raw_cloud.covariance(rows) == pytest.approx(np.cov(rows.T, bias=True), rel=1e-8, abs=1e-9)
    around = rows - rows.mean(0)
    expected = (unit(around) @ unit(table).T).max(1)
    assert raw_cloud.nearest_cosines(around, table, chunk=5) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(NotMeasurable):
        assert raw_cloud.RawCloud.of(np.ones((4, 2))).root_trace
