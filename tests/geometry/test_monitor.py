"""The training-time monitor: its numbers on constructed probes, and in open_clip's own loop and in a plain one."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from open_clip.loss import ClipLoss

from revision_plugin.errors import RevisionError
from revision_plugin.geometry.monitor import GapMonitor, read_log
from revision_plugin.geometry.monitor_plot import plot_monitor

DIM, PAIRS, STEPS = 12, 120, 6


class Embedder(torch.nn.Module):
    """Two linear towers with unit-norm outputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = torch.nn.Linear(20, DIM), torch.nn.Linear(20, DIM)

    def forward(self, images, texts):
        unit = torch.nn.functional.normalize
        return {"image_features": unit(self.image(images), dim=-1), "text_features": unit(self.text(texts), dim=-1)}


@pytest.fixture
def data():
    torch.manual_seed(1)
    images = torch.randn(PAIRS, 20)
    return images, images + 0.3 * torch.randn(PAIRS, 20)


def watched(tmp_path, model, data, name="log.jsonl", **settings):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    probe = lambda m: tuple(m(*data).values())  # noqa: E731
    monitor = GapMonitor(probe, tmp_path / name, **{"every": 2, "freeze_step": 4, "gradient_batches": 2, **settings})
    return monitor.attach(model, optimizer), optimizer


def train(model, optimizer, data, steps, monitor=None):
    loss = ClipLoss()
    for _ in range(steps):
        features = model(*data)
        optimizer.zero_grad()
        loss(features["image_features"], features["text_features"], torch.tensor(5.0)).backward()
        optimizer.step()


def test_what_it_logs_in_a_plain_loop(tmp_path, data):
    model = Embedder()
    monitor, optimizer = watched(tmp_path, model, data)
    train(model, optimizer, data, 8)
    rows = read_log(tmp_path / "log.jsonl")
    assert [row["step"] for row in rows] == [0, 2, 4, 6, 8]
    assert all(row["sine"] == pytest.approx(0, abs=1e-9) for row in rows[:3]), "before the freeze U follows the probe"
    assert rows[3]["sine"] > 1e-6 and rows[4]["sine"] > 1e-6
    assert [row["rank"] for row in rows[2:]] == [rows[2]["rank"]] * 3
    assert rows[1]["drift"] is None and rows[2]["drift"] == 0 and rows[4]["drift"] > 0
    assert rows[0]["leak"] is None and all(0 <= row["leak"] <= 1 for row in rows[1:])
    with torch.no_grad():
        images, texts = (f.double().numpy() for f in model(*data).values())
    assert rows[-1]["gap"] == pytest.approx(np.linalg.norm(images.mean(0) - texts.mean(0)))
    parts = sum(rows[-1][name] for name in ("PMB", "COB", "residual_U", "residual_V"))
    assert parts == pytest.approx(np.square(images - texts).sum(1).mean())
    assert 0 <= rows[-1]["bias_angle"] <= 90 and rows[-1]["condition_V"] >= 1 and rows[-1]["condition_U"] >= 1
    plot_monitor(rows, tmp_path, freeze_step=4, title="a test")
    assert (tmp_path / "figure2.png").stat().st_size > 10000 and (tmp_path / "figure2.svg").exists()


def test_leakage_and_locking_of_known_gradients(tmp_path, data):
    """Gradients written by hand: all inside U leak nothing, all inside V leak everything; equal spectra lock."""
    model = Embedder()
    monitor, optimizer = watched(tmp_path, model, data)
    with torch.no_grad():
        images, texts = (f.double().numpy() for f in model(*data).values())
    total_covariance = np.cov(images.T) + np.cov(texts.T)
    values, vectors = np.linalg.eigh(total_covariance)
    rank = int(np.searchsorted(np.cumsum(values[::-1]) / values.sum(), 0.9)) + 1
    u, v = vectors[:, ::-1][:, :rank], vectors[:, ::-1][:, rank:]
    residual = np.linalg.cholesky(u.T @ np.cov((images - texts).T) @ u)
    rng = np.random.default_rng(0)
    for basis, leak in ((u, 0), (v, 1)):
        coordinates = rng.normal(size=(PAIRS, basis.shape[1]))
        if leak == 0:
            whitened = np.linalg.qr(coordinates)[0]
            coordinates = whitened @ residual.T
        monitor._keep_gradient(torch.from_numpy(coordinates @ basis.T))
        record = monitor._measure(images, texts)
        monitor._outers.clear()
        assert record["leak"] == pytest.approx(leak, abs=1e-3)
        if leak == 0:
            assert record["rho_align"] == pytest.approx(1, abs=1e-4)


def test_watching_changes_nothing_and_resumes(tmp_path, data):
    unwatched, monitored = Embedder(), Embedder()
    train(unwatched, torch.optim.SGD(unwatched.parameters(), lr=0.05), data, 8)
    monitor, optimizer = watched(tmp_path, monitored, data)
    train(monitored, optimizer, data, 8)
    assert all(torch.equal(a, b) for a, b in zip(unwatched.parameters(), monitored.parameters()))
    cut = Embedder()
    monitor, optimizer = watched(tmp_path, cut, data, name="cut.jsonl")
    train(cut, optimizer, data, 6)
    state, weights = copy.deepcopy(monitor.state_dict()), copy.deepcopy(cut.state_dict())
    train(cut, optimizer, data, 2)  # logged, and lost with the killed process
    again = Embedder()
    again.load_state_dict(weights)
    optimizer = torch.optim.SGD(again.parameters(), lr=0.05)
    resumed = GapMonitor(
        lambda m: tuple(m(*data).values()), tmp_path / "cut.jsonl", every=2, freeze_step=4, gradient_batches=2
    )
    resumed.load_state_dict(state)
    resumed.attach(again, optimizer)
    train(again, optimizer, data, 2)
    assert read_log(tmp_path / "cut.jsonl") == read_log(tmp_path / "log.jsonl")
    resumed.detach()
    train(again, optimizer, data, 2)
    assert read_log(tmp_path / "cut.jsonl")[-1]["step"] == 8


def test_in_the_training_loop_of_open_clip(tmp_path):
    """open_clip_train's train_one_epoch, unchanged, with the monitor hooked to its model and optimizer."""
    from open_clip_train.train import train_one_epoch

    torch.manual_seed(0)
    vision = {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1}
    model = open_clip.CLIP(DIM, vision, text, output_dict=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches = [(torch.randn(24, 3, 16, 16), torch.randint(1, 49, (24, 8))) for _ in range(STEPS)]

    class Loader(list):
        num_batches, num_samples, batch_size = STEPS, 24 * STEPS, 24

    def probe(model):
        return model.encode_image(batches[0][0], normalize=True), model.encode_text(batches[0][1], normalize=True)

    GapMonitor(probe, tmp_path / "log.jsonl", every=3, freeze_step=3).attach(model, optimizer)
    arguments = SimpleNamespace(
        device="cpu",
        precision="fp32",
        distill=False,
        accum_freq=1,
        skip_scheduler=True,
        grad_clip_norm=None,
        horovod=False,
        rank=0,
        local_rank=0,
        world_size=1,
        batch_size=24,
        log_every_n_steps=100,
        wandb=False,
        distributed=False,
    )
    data = {"train": SimpleNamespace(dataloader=Loader(batches), set_epoch=lambda epoch: None)}
    train_one_epoch(model, data, ClipLoss(), 0, optimizer, None, None, None, arguments)
    rows = read_log(tmp_path / "log.jsonl")
    assert [row["step"] for row in rows] == [0, 3, 6]
    assert rows[1]["leak"] > 0 and rows[2]["sine"] > 0
    assert json.dumps(rows)


def test_a_tracker_draws_each_line(tmp_path, data):
    points = []

    class Tracker:
        def log(self, values, step):
            points.append({"step": step, **values})

    model = Embedder()
    _, optimizer = watched(tmp_path, model, data, tracker=Tracker())
    train(model, optimizer, data, 4)
    lines = [{k: v for k, v in line.items() if v is not None} for line in read_log(tmp_path / "log.jsonl")]
    assert [point["step"] for point in points] == [0, 2, 4]
    assert points == [{k if k == "step" else f"gap/{k}": v for k, v in line.items()} for line in lines]


def test_another_runs_log_is_not_lost(tmp_path):
    model = torch.nn.Linear(2, 2)
    (tmp_path / "log.jsonl").write_text('{"step": 0}\n')
    monitor = GapMonitor(lambda model: None, tmp_path / "log.jsonl")
    with pytest.raises(RevisionError, match="log.jsonl: holds the log of another run"):
        monitor.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 0}\n'
