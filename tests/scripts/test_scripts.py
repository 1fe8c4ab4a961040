"""The launch scripts resolve to the papers' settings at any number of GPUs, without running anything."""

import os
import shlex
import subprocess

import pytest
from conftest import ROOT


def dry_run(name, expect=0, **values):
    clean = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME")}
    environment = {**clean, "DRY_RUN": "1", "DATA": "data", **{k: str(v) for k, v in values.items()}}
    done = subprocess.run(["bash", f"scripts/{name}.sh"], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == expect, done.stderr
    if expect:
        return done.stderr.strip().splitlines()[-1]
    words = shlex.split(done.stdout)
    flags = {word: value for word, value in zip(words, words[1:]) if word.startswith("--")}
    return words, flags


@pytest.mark.parametrize("gpus, per_gpu, accumulation", [(8, 32, 1), (4, 32, 2), (1, 16, 16)])
def test_stage1_keeps_the_global_batch(gpus, per_gpu, accumulation):
    words, flags = dry_run("pretrain", ENCODER="demo", GPUS=gpus, BATCH_PER_GPU=per_gpu)
    assert words[:3] == ["deepspeed", "--num_gpus", str(gpus)] and words[3] == "scripts/train.py"
    assert int(flags["--gradient_accumulation_steps"]) == accumulation
    papers = {
        "--learning_rate": "5e-4",
        "--lr_scheduler_type": "cosine",
        "--warmup_ratio": "0.03",
        "--weight_decay": "0.",
        "--num_train_epochs": "1",
        "--model_max_length": "2048",
        "--bf16": "True",
        "--version": "plain",
        "--deepspeed": "scripts/zero2.json",
        "--model_name_or_path": "meta-llama/Meta-Llama-3-8B-Instruct",
    }
    assert papers.items() <= flags.items()


def test_stage2_of_both_set_ups():
    _, llama = dry_run("finetune", ENCODER="demo", IMAGES="pictures")
    papers = {
        "--learning_rate": "1e-5",
        "--version": "llama_3",
        "--deepspeed": "scripts/zero3.json",
        "--image_folder": "pictures",
    }
    assert papers.items() <= llama.items()
    _, vicuna = dry_run("finetune", SETUP="vicuna")
    assert vicuna["--version"] == "v1" and vicuna["--model_name_or_path"] == "lmsys/vicuna-7b-v1.5"
    assert vicuna["--revision_encoder"] == "hf:openai/clip-vit-large-patch14-336"


def test_views_and_stores_of_images():
    _, plain = dry_run("finetune", ENCODER="demo", IMAGES="pictures")
    assert "--revision_views" not in plain and plain["--image_aspect_ratio"] == "pad"
    _, stored = dry_run("finetune", ENCODER="demo", IMAGE_STORE="images", VIEWS="2x2:mask")
    wanted = {"--revision_views": "2x2:mask", "--revision_image_store": "images", "--image_aspect_ratio": "square"}
    assert wanted.items() <= stored.items() and "--image_folder" not in stored
    _, texts = dry_run("pretrain", ENCODER="demo", VIEWS="2x2", ALIGNER="whole", PART_ALIGNER="parts")
    wanted = {"--revision_views": "2x2", "--revision_aligner": "whole", "--revision_part_aligner": "parts"}
    assert wanted.items() <= texts.items()


def test_what_the_scripts_refuse():
    assert "GLOBAL_BATCH=256 is no multiple of GPUS=3" in dry_run("pretrain", expect=2, ENCODER="demo", GPUS=3)
    refusal = dry_run("pretrain", expect=2, SETUP="gpt")
    assert "SETUP=gpt: no such line in" in refusal and "llama3 vicuna" in refusal
    assert "no such line" in dry_run("pretrain", expect=2, SETUP="#")
    assert "the encoder spec" in dry_run("pretrain", expect=1)


def test_set_ups_by_name():
    lines = [line.split() for line in (ROOT / "scripts" / "setups.txt").read_text().splitlines() if line[0] != "#"]
    assert len({line[0] for line in lines}) == len(lines) > 10
    for name, model, billions, version, encoder in lines:
        _, flags = dry_run("finetune", SETUP=name, ENCODER="demo")
        assert flags["--model_name_or_path"] == model and flags["--version"] == version and float(billions) > 0
        assert flags["--learning_rate"] == "1e-5" and (encoder == "-") == (name != "vicuna")
    _, flags = dry_run("finetune", MODEL="my/model", ENCODER="demo")
    assert flags["--model_name_or_path"] == "my/model" and flags["--version"] == "auto"
    _, flags = dry_run("finetune", SETUP="qwen3-8b", MODEL="local", ENCODER="demo")
    assert flags["--model_name_or_path"] == "local" and flags["--version"] == "auto"
