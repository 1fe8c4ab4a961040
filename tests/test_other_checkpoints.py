"""Checkpoints other than a full Stage 2 of ours, through `llava_revision`: a plain LLaVA and a LoRA checkpoint."""

import json
import subprocess

import pytest
from conftest import ENVIRONMENT, ROOT, run_revision, train

from revision_plugin.demo import corpus, world

pytestmark = pytest.mark.slow
PLAIN_CLIP = ("--mm_vision_select_layer", "-2")


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    scenes = world.sample_scenes(2, seed=5, held_out=True, distinct=True)
    return corpus.write_benchmark(scenes, tmp_path_factory.mktemp("benchmark"), seed=5)


def answers(out):
    (path,) = out.rglob("*_samples_revision_demo.jsonl")
    return [json.loads(line)["filtered_resps"] for line in path.read_text().splitlines()]


def test_a_plain_llava_checkpoint(benchmark, world_files, tiny_clip, tiny_llm, tmp_path):
    """Trained with a CLIP tower and LLaVA's own flags; scored through the launch script."""
    model, out = tmp_path / "llava-plain", tmp_path / "out"
    train(model, tiny_llm, "--version", "v1", "--data_path", world_files / "questions.json", "--image_folder",
          world_files / "images", *PLAIN_CLIP, tower=("--vision_tower", tiny_clip))  # fmt: skip
    assert "revision" not in json.loads((model / "config.json").read_text())
    command = ["bash", ROOT / "scripts" / "eval.sh", model, out, "demo", "--data-root", benchmark, "--device", "cpu"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "revision_demo: accuracy " in done.stdout
    assert len(answers(out)) == 12


def test_a_lora_checkpoint(benchmark, stage1, world_files, tiny_llm, tmp_path):
    """LoRA in Stage 2 trains adapters and the projector; both are loaded over the base language model."""
    from safetensors.torch import load_file

    model, out = tmp_path / "tuned", tmp_path / "out"
    train(model, tiny_llm, "--version", "v1", "--data_path", world_files / "questions.json", "--image_folder",
          world_files / "images", "--pretrain_mm_mlp_adapter", stage1 / "mm_projector.bin", "--revision_tokens", 2,
          "--lora_enable", "True", "--lora_r", 4, "--lora_alpha", 8, "--mm_projector_lr", 1e-3)  # fmt: skip
    adapters = load_file(model / "adapter_model.safetensors")
    assert any(value.abs().sum() > 0 for key, value in adapters.items() if "lora_B" in key)
    image = world_files / "images" / "00000.png"
    ask = ("ask", "--model", model, "--image", image, "is there a dog?", "--max-new-tokens", 3)
    assert (
        "is a LoRA checkpoint (adapters only); give its language model with --base"
        in run_revision(*ask, expect=2).stderr
    )
    asked = run_revision(*ask, "--base", tiny_llm).stdout
    assert asked.strip()
    run_revision("evaluate", "--model", model, "--base", tiny_llm, "--tasks", "demo", "--data-root", benchmark,
                 "--out", out, "--device", "cpu")  # fmt: skip
    assert len(answers(out)) == 12
