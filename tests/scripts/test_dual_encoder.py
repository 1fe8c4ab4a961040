"""`python -m scripts.dual_encoder` as a user runs it: stopped and resumed, in two processes, and its encoder used."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from conftest import ENVIRONMENT, FORKS, ROOT, run_revision, torchrun
from safetensors.torch import load_file

from revision_plugin.errors import RevisionError
from revision_plugin.geometry.monitor import read_log
from scripts.dual_encoder.dual_encoder_configs import CONFIGS
from scripts.dual_encoder.pair_batches import Batches

STEPS = 12


def command(world_files, out, *flags, launcher=()):
    return list(
        map(
            str,
            [
                *launcher,
                "-m",
                "scripts.dual_encoder",
                "--config",
                "world",
                "--data",
                world_files / "paired.json",
                "--image-folder",
                world_files / "images",
                "--out",
                out,
                "--steps",
                STEPS,
                "--batch",
                16,
                "--every",
                4,
                "--freeze-step",
                8,
                "--save-every",
                3,
                "--workers",
                0,
                *flags,
            ],
        )
    )


def run(*arguments, expect=0, **keywords):
    words = command(*arguments, **keywords)
    if keywords.get("launcher"):
        done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, timeout=300)
    else:
        done = FORKS.run(words, environment=ENVIRONMENT, cwd=ROOT)
    assert done.returncode == expect, done.stderr[-3000:]
    return done.stderr


def weights(out):
    return load_file(out / "encoder" / "open_clip_model.safetensors")


@pytest.mark.slow
def test_a_killed_training_ends_as_one_that_was_not(world_files, tmp_path):
    run(world_files, tmp_path / "whole")
    assert [row["step"] for row in read_log(tmp_path / "whole" / "monitor.jsonl")] == [0, 4, 8, 12]
    assert (tmp_path / "whole" / "figure2.png").stat().st_size > 10000
    cut = tmp_path / "cut"
    with open(os.devnull, "w") as nothing:
        words = command(world_files, cut)
        process = FORKS.popen(words, environment=ENVIRONMENT, cwd=ROOT, stdout=nothing, stderr=nothing)
    while not (cut / "checkpoint.pt").exists():
        assert process.poll() is None, "ended before its first checkpoint"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / "encoder").exists()
    other = run(world_files, cut, "--seed", 5, expect=2)
    assert "holds a stopped run with another seed" in other
    assert "resumed at step" in run(world_files, cut)
    resumed_weights, reference_weights = weights(cut), weights(tmp_path / "whole")
    assert all(torch.equal(resumed_weights[key], reference_weights[key]) for key in reference_weights)
    for name in ("monitor.jsonl", "losses.jsonl"):
        assert (cut / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert "already holds a finished encoder" in run(world_files, cut, expect=2)
    run_revision(
        "encode",
        "--encoder",
        f"open_clip:{cut / 'encoder'}",
        "--images",
        world_files / "images",
        "--out",
        tmp_path / "store",
    )


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(world_files, tmp_path):
    """Global batches are the same, so the losses agree but for rounding and batch normalisation within each process."""
    run(world_files, tmp_path / "two", launcher=torchrun())
    losses = [json.loads(line)["loss"] for line in (tmp_path / "two" / "losses.jsonl").read_text().splitlines()]
    assert len(losses) == STEPS and np.isfinite(losses).all()
    assert [row["step"] for row in read_log(tmp_path / "two" / "monitor.jsonl")] == [0, 4, 8, 12]


def test_batches_depend_on_seed_and_step_alone():
    batches = list(Batches(10, 4, seed=3, start=0, steps=7))
    assert list(Batches(10, 4, seed=3, start=5, steps=7)) == batches[5:]
    halves = [list(Batches(10, 4, seed=3, start=0, steps=7, rank=rank, processes=2)) for rank in range(2)]
    assert [a + b for a, b in zip(*halves)] == batches
    drawn = [index for batch in batches for _, index in batch]
    assert sorted(drawn[:10]) == sorted(drawn[10:20]) == list(range(10)) and drawn[:10] != drawn[10:20]
    assert list(Batches(10, 4, seed=4, start=0, steps=7)) != batches
    with pytest.raises(RevisionError, match="needs as many to train on, there are 3"):
        Batches(3, 4, seed=0, start=0, steps=1)
    with pytest.raises(RevisionError, match="shared by 3 processes"):
        Batches(10, 4, seed=0, start=0, steps=1, processes=3)


def test_the_papers_set_up():
    """TinyCLIP ViT-B/32, 40M of vision and 19M of text parameters beside the token table."""
    import open_clip

    config = CONFIGS.get("tinyclip")()
    model = open_clip.CLIP(config.model["embed_dim"], config.model["vision_cfg"], config.model["text_cfg"])
    vision = sum(p.numel() for p in model.visual.parameters())
    text = sum(p.numel() for name, p in model.transformer.named_parameters())
    assert round(vision / 1e6) == 40 and round(text / 1e6) == 19
    assert (config.batch, config.learning_rate, config.weight_decay, config.warmup) == (4096, 1e-4, 1e-4, 0.1)
    assert (config.every, config.freeze_step, config.gradient_batches, config.probe) == (20, 800, 16, 200000)


def test_bad_input_ends_in_one_line(world_files, tmp_path):
    records = json.loads((world_files / "paired.json").read_text())
    del records[3]["image"]
    (tmp_path / "broken.json").write_text(json.dumps(records))
    flags = ["--config", "world", "--image-folder", world_files / "images", "--out", tmp_path / "out", "--data"]
    script = ["-m", "scripts.dual_encoder"]
    for data, config, message in (
        (tmp_path / "broken.json", "world", "has no 'image'"),
        (tmp_path / "none.json", "world", "no such file"),
        (world_files / "paired.json", "wurld", "did you mean 'world'"),
    ):
        arguments = [config if flag == "world" else flag for flag in flags]
        done = FORKS.run([*script, *arguments, data], environment=ENVIRONMENT, cwd=ROOT)
        assert done.returncode == 2 and message in done.stderr.strip().splitlines()[-1]
        assert not (tmp_path / "out").exists()
