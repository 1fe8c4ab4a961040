"""Checkpoints other than a full Stage 2 over Llama: a plain LLaVA, LoRA and QLoRA, and a Mistral."""

import json
import subprocess

import pytest
from conftest import (
    ENVIRONMENT,
    ROOT,
    evaluate_words,
    image_flags,
    run_revision,
    stage1_flags,
    stage2_flags,
    train,
)

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
    train(
        model,
        tiny_llm,
        *stage2_flags(world_files),
        *PLAIN_CLIP,
        tower=("--vision_tower", tiny_clip),
    )
    assert "revision" not in json.loads((model / "config.json").read_text())
    command = ["bash", ROOT / "scripts" / "eval.sh", model, out, "demo", "--data-root", benchmark, "--device", "cpu"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "revision_demo: accuracy " in done.stdout
    assert len(answers(out)) == 12


@pytest.mark.parametrize("bits", [16, 4])
def test_a_lora_checkpoint(bits, benchmark, stage1, world_files, tiny_llm, tmp_path):
    """LoRA and, on 4 bits, QLoRA in Stage 2 train adapters and the projector; both are merged over the base language
    model.
    """
    from safetensors.torch import load_file

    model, out = tmp_path / "tuned", tmp_path / "out"
    train(
        model,
        tiny_llm,
        *stage2_flags(world_files),
        "--pretrain_mm_mlp_adapter",
        stage1 / "mm_projector.bin",
        "--revision_tokens",
        2,
        "--lora_enable",
        "True",
        "--lora_r",
        4,
        "--lora_alpha",
        8,
        "--mm_projector_lr",
        1e-3,
        "--bits",
        bits,
    )
    adapters = load_file(model / "adapter_model.safetensors")
    assert any(value.abs().sum() > 0 for key, value in adapters.items() if "lora_B" in key)
    image = world_files / "images" / "00000.png"
    ask = ("ask", "--model", model, "--image", image, "is there a dog?", "--max-new-tokens", 3)
    assert run_revision(*ask, "--base", tiny_llm).stdout.strip()
    if bits == 16:
        lacking = run_revision(*ask, expect=2).stderr
        assert "is a LoRA checkpoint (adapters only); give its language model with --base" in lacking
        run_revision(*evaluate_words(model, benchmark, out), "--base", tiny_llm)
        assert len(answers(out)) == 12


@pytest.fixture(scope="module")
def tiny_mistral(world_files, tmp_path_factory):
    """A random Mistral with a SentencePiece tokenizer, as the real one has."""
    import sentencepiece
    import torch
    from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

    path = tmp_path_factory.mktemp("tiny") / "mistral"
    path.mkdir()
    words = [
        turn["value"]
        for record in json.loads((world_files / "questions.json").read_text())
        for turn in record["conversations"]
    ]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([f"[INST] {word} [/INST]" for word in words]),
        model_prefix=str(path / "tokenizer"),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        allow_whitespace_only_pieces=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "legacy": True, **names})
    )
    tokenizer = AutoTokenizer.from_pretrained(path)
    torch.manual_seed(0)
    MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=512,
            sliding_window=16,
            bos_token_id=1,
            eos_token_id=2,
        )
    ).save_pretrained(path)
    return path


def test_a_mistral(tiny_mistral, tiny_llm, stores, world_files, tmp_path):
    """Both stages train and load LLaVA's class for Mistral, whose attention slides over a window."""
    stage1, stage2 = tmp_path / "stage1", tmp_path / "stage2"
    train(stage1, tiny_mistral, *stage1_flags(stores))
    questions = (
        "--version",
        "mistral_instruct",
        *image_flags(world_files),
        "--pretrain_mm_mlp_adapter",
        stage1 / "mm_projector.bin",
    )
    train(stage2, tiny_mistral, *questions)
    for model in (stage1, stage2):
        assert json.loads((model / "config.json").read_text())["model_type"] == "llava_mistral"
        history = json.loads((model / "trainer_state.json").read_text())["log_history"]
        assert all(entry["loss"] > 1 for entry in history if "loss" in entry), "replies are learned, not masked away"
    image = world_files / "images" / "00000.png"
    run_revision("ask", "--model", stage1, "--base", tiny_mistral, "--image", image)
    run_revision("ask", "--model", stage2, "--image", image, "is there a dog?", "--max-new-tokens", 3)
    done = train(
        tmp_path / "masked", tiny_llm, *questions, expect=2
    )  # whose tokenizer LLaVA cannot split at this template
    assert "every reply of the first 4 examples is masked" in done.stderr
