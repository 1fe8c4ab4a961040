"""`revision export --model`, as a user runs it: every kind of checkpoint, opened without this package and LLaVA."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import run_revision, stage2_flags, train

from revision_plugin.demo import world

pytestmark = pytest.mark.slow
ALONE = """
import sys
for name in ("llava", "revision_plugin", *sys.argv.pop(1).split()):
    sys.modules[name] = None  # as where it is not installed
import runpy
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""
ASK = """
import sys
import torch
from transformers import pipeline
folder, image, question = sys.argv[1:]
ask = pipeline("image-text-to-text", model=folder, trust_remote_code=True, dtype=torch.float32)
content = [{"type": "image", "url": image}, *([{"type": "text", "text": question}] if question else [])]
said = ask(text=[{"role": "user", "content": content}], max_new_tokens=20, return_full_text=False)
print("said:", said[0]["generated_text"].strip())
"""


def ask_alone(folder, image, question, place, missing=""):
    """What a process in which neither LLaVA nor this package can be imported is answered."""
    script = place / "ask.py"
    script.write_text(ASK)
    environment = {**os.environ, "HF_MODULES_CACHE": str(place / "modules"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-P", "-c", ALONE, missing, script, folder, image, question]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=300)


def same_answers(folder, model, world_files, place, question="is there a dog?", base=()):
    image = world_files / "images" / "00000.png"
    done = ask_alone(folder, image, question, place)
    assert done.returncode == 0, done.stderr[-2000:]
    words = ["ask", "--model", model, *base, "--image", image, *([question] if question else [])]
    ours = run_revision(*words, "--max-new-tokens", 20).stdout.strip()
    assert done.stdout.strip().splitlines()[-1] == f"said: {ours}".strip()


def test_stage_2(stage2, world_files, tmp_path):
    out = tmp_path / "out"
    printed = run_revision("export", "--model", stage2, "--out", out)
    assert "logits differ by at most" in printed.stderr and "opens with AutoModelForImageTextToText" in printed.stdout
    same_answers(out, stage2, world_files, tmp_path)
    card = (out / "README.md").read_text()
    assert "Stage 1, the projector" in card and "Stage 2, language model and projector" in card
    assert "centroid gap" in card and str(tmp_path) not in card and str(stage2) not in card
    without = ask_alone(out, world_files / "images" / "00000.png", "?", tmp_path, missing="open_clip")
    assert without.returncode and without.stderr.strip().splitlines()[-1].startswith(
        "ImportError: this model's image encoder is one of open_clip: pip install open_clip_torch"
    )


def test_stage_1_writes_captions(stage1, tiny_llm, world_files, tmp_path):
    out = tmp_path / "out"
    run_revision("export", "--model", stage1, "--base", tiny_llm, "--out", out)
    same_answers(out, stage1, world_files, tmp_path, question="", base=("--base", tiny_llm))


@pytest.mark.parametrize("bits", [16, 4])
def test_lora(bits, stage1, tiny_llm, world_files, tmp_path):
    model, out = tmp_path / "tuned", tmp_path / "out"
    projector = ("--pretrain_mm_mlp_adapter", stage1 / "mm_projector.bin", "--revision_tokens", 2)
    lora = ("--lora_enable", "True", "--lora_r", 4, "--lora_alpha", 8, "--mm_projector_lr", 1e-3, "--bits", bits)
    train(model, tiny_llm, *stage2_flags(world_files), *projector, *lora)
    run_revision("export", "--model", model, "--base", tiny_llm, "--out", out)
    same_answers(out, model, world_files, tmp_path, base=("--base", tiny_llm))


def refusal(*words):
    return run_revision("export", *words, expect=2).stderr.strip().splitlines()[-1]


def test_what_is_refused(stage1, stage2, tiny_llm, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    assert "already exists; choose another --out" in refusal("--model", stage2, "--out", full)
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    other = shutil.copytree(world.ASSETS / "llm", tmp_path / "other")
    assert "than the language model that" in refusal("--model", stage1, "--base", other, "--out", tmp_path / "out")
    assert "give its language model with --base" in refusal("--model", stage1, "--out", tmp_path / "out")
    lost = shutil.copytree(stage2, tmp_path / "lost")
    config = json.loads((lost / "config.json").read_text())
    config["revision"]["encoder"]["spec"] = "open_clip:/nowhere/encoder"
    (lost / "config.json").write_text(json.dumps(config))
    assert "encoder 'open_clip:/nowhere/encoder' cannot be loaded" in refusal(
        "--model", lost, "--out", tmp_path / "out"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "lost", "other"]


def test_a_full_disk_leaves_nothing(stage2, tmp_path):
    """A limit on the size of files stands for a full disk."""
    command = (
        f"ulimit -f 20; exec {sys.executable} -P -m revision_plugin.cli export --model {stage2} --out {tmp_path}/o"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "nothing was kept, make room and repeat" in done.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())
