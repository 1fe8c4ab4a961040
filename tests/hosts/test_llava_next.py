"""The flow through a checkout of LLaVA-NeXT, where REVISION_LLAVA_NEXT gives its path."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
import torch
from conftest import ENVIRONMENT, ROOT, evaluate_words, image_flags, projector, torchrun
from safetensors.torch import load_file
from test_resume import finish, start, stop_after_checkpoint

from revision_plugin.demo import corpus, world

CHECKOUT = os.environ.get("REVISION_LLAVA_NEXT")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHECKOUT, reason="LLaVA-NeXT is not on PyPI; REVISION_LLAVA_NEXT names no checkout of it"),
]
FLAGS = """--mm_projector_type mlp2x_gelu --mm_use_im_start_end False --mm_use_im_patch_token False
    --learning_rate 1e-3 --logging_steps 1 --model_max_length 512 --per_device_train_batch_size 4
    --gradient_checkpointing False
    --lazy_preprocess True --report_to none --max_steps 4 --save_strategy no --dataloader_num_workers 0
    --vision_tower revision --revision_encoder demo""".split()
SPECIAL = {
    "qwen": dict(eos_token="<|im_end|>", pad_token="<|endoftext|>", extra=["<|im_start|>", "<|im_end|>"]),
    "llama": dict(
        eos_token="<|eot_id|>",
        pad_token="<|end_of_text|>",
        bos_token="<|begin_of_text|>",
        extra=["<|start_header_id|>", "<|end_header_id|>"],
    ),
}
CHAT = (
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
)
TEMPLATES = {"qwen": "qwen_1_5", "llama": "llava_llama_3"}
# docs/forks.md's two commands, without what each ends in
STAGE1, STAGE2 = (
    shlex.split(line)[2:-1]
    for line in re.findall(r"^python scripts/train.py .*$", (ROOT / "docs" / "forks.md").read_text(), re.M)
)


def run(*words, expect=0):
    environment = {**ENVIRONMENT, "PYTHONPATH": CHECKOUT, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done


def revision(*words, expect=0):
    return run("-m", "revision_plugin.cli", *words, expect=expect)


def train(out, llm, *flags, expect=0):
    return run(
        ROOT / "scripts" / "train.py", *FLAGS, "--model_name_or_path", llm, "--output_dir", out, *flags, expect=expect
    )


@pytest.fixture(scope="module")
def llms(tmp_path_factory):
    """A random Qwen 2 and a random Llama over bytes, where 198 is the newline as in Qwen's own vocabulary."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    root, folders = tmp_path_factory.mktemp("llms"), {}
    for kind, (config, model) in {
        "qwen": (Qwen2Config, Qwen2ForCausalLM),
        "llama": (LlamaConfig, LlamaForCausalLM),
    }.items():
        tokens = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
        tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        special = dict(SPECIAL[kind])
        extra = special.pop("extra")
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, additional_special_tokens=extra, **special)
        tokenizer.chat_template = CHAT if kind == "llama" else None
        folders[kind] = root / f"tiny-{kind}"
        tokenizer.save_pretrained(folders[kind])
        torch.manual_seed(0)
        model(
            config(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                max_position_embeddings=512,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        ).save_pretrained(folders[kind])
    return folders


def test_doctor_finds_it():
    printed = revision("doctor").stdout
    assert "host llava-next: 1.7." in printed and "host llava: not installed" in printed
    assert "holds: llava.model.llava_arch.build_vision_tower" in printed
    assert "holds: llava.train.llava_trainer.LLaVATrainer._inner_training_loop" in printed


@pytest.mark.parametrize("kind", TEMPLATES)
def test_both_stages(kind, llms, stores, world_files, tmp_path):
    stage1, stage2 = tmp_path / "stage1", tmp_path / "stage2"
    assert STAGE2[-1] == TEMPLATES["qwen"]
    train(
        stage1,
        llms[kind],
        *STAGE1,
        "--data_path",
        stores / "texts",
        "--revision_aligner",
        stores / "realign",
        "--revision_tokens",
        2,
    )
    assert projector(stage1)["model.mm_projector.0.weight"].shape == (32, 192)
    assert (stage1 / "mm_projector.safetensors").exists()
    train(
        stage2,
        llms[kind],
        *STAGE2[:-1],
        TEMPLATES[kind],
        *image_flags(world_files),
        "--image_aspect_ratio",
        "pad",
        "--pretrain_mm_mlp_adapter",
        stage1 / "mm_projector.bin",
        "--revision_tokens",
        2,
    )
    for stage in (stage1, stage2):
        history = json.loads((stage / "trainer_state.json").read_text())["log_history"]
        losses = [entry["loss"] for entry in history if "loss" in entry]
        assert len(losses) == 4 and min(losses) > 1, "replies are learned, not masked away"
    trained, base = (load_file(folder / "model.safetensors") for folder in (stage2, llms[kind]))
    assert not torch.equal(trained["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"])
    record = json.loads((stage2 / "config.json").read_text())["revision"]
    assert record["conversation"] == TEMPLATES[kind] and record["encoder"]["spec"] == "demo" and record["tokens"] == 2
    images = [word for i in range(2) for word in ("--image", world_files / "images" / f"{i:05}.png")]
    combined_output = revision(
        "ask", "--model", stage2, *images, "is there a dog?", "--max-new-tokens", 5, "--json"
    ).stdout
    separate_outputs = [
        revision(
            "ask", "--model", stage2, *images[a : a + 2], "is there a dog?", "--max-new-tokens", 5, "--json"
        ).stdout
        for a in (0, 2)
    ]
    assert combined_output == "".join(separate_outputs) and combined_output.count("answer") == 2
    benchmark = corpus.write_benchmark(world.sample_scenes(2, seed=5, held_out=True), tmp_path / "benchmark", seed=5)
    scored = revision(*evaluate_words(stage2, benchmark, tmp_path / "scores"))
    assert "revision_demo: accuracy " in scored.stdout
    exported = revision("export", "--model", stage2, "--out", tmp_path / "shared")
    assert "the same prompts, pixels and answers" in exported.stderr
    places = ("--source", stores / "texts", "--target", stores / "images", "--out", tmp_path / "projected")
    revision("geometry", *places, "--projected", stage2, stage1)
    first, second = json.loads((tmp_path / "projected" / "metrics.json").read_text())["checkpoints"]
    assert (first["name"], second["name"]) == ("stage2", "stage1") and first["own_aligner"] and second["own_aligner"]
    for one, weights in ((first, trained), (second, base)):
        norms = weights["model.embed_tokens.weight"].norm(dim=1)
        assert one["metrics"]["tokens"]["norm_mean"] == pytest.approx(float(norms[norms > 0].mean()), rel=1e-4)


def test_views_of_images_and_texts(llms, world_files, tmp_path):
    """Stage 2 on images of five views, by pixels, and on texts with their clauses, in the same batches; then asked."""
    texts, stored, aligners = tmp_path / "t", tmp_path / "i", []
    encode = ("encode", "--encoder", "demo")
    revision(*encode, "--texts", world_files / "texts.json", "--views", "clauses", "--out", texts)
    revision(*encode, "--images", world_files / "images", "--views", "2x2", "--out", stored)
    for flag, view in (("--revision_aligner", "whole"), ("--revision_part_aligner", "parts")):
        revision("fit", "--source", texts, "--target", stored, "--view", view, "--out", tmp_path / view)
        aligners += [flag, tmp_path / view]
    talk = [{"from": "human", "value": "what is it?"}, {"from": "gpt", "value": "a dog"}]
    mixed = json.loads((world_files / "questions.json").read_text())[:10]
    mixed += [{"id": f"{number:06d}", "conversations": talk} for number in range(10)]
    (tmp_path / "mixed.json").write_text(json.dumps(mixed))
    data = ("--data_path", tmp_path / "mixed.json", "--revision_store", texts)
    views = ("--revision_views", "2x2:mask")
    found = {}
    for name, images in (
        ("pixels", ("--image_folder", world_files / "images")),
        ("store", ("--revision_image_store", stored)),
    ):
        train(tmp_path / name, llms["qwen"], *STAGE2, *data, *images, *aligners, *views)
        history = json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"]
        found[name] = [entry["loss"] for entry in history if "loss" in entry]
    assert found["pixels"] == pytest.approx(found["store"], abs=5e-3)  # the store keeps 16 bits
    images = [word for i in range(2) for word in ("--image", world_files / "images" / f"{i:05}.png")]
    asked = ("ask", "--model", tmp_path / "pixels", *images, "is there a dog?", "--max-new-tokens", 5, "--json")
    assert revision(*asked).stdout.count("answer") == 2


def test_curves_and_probe_in_stage1(llms, stores, world_files, tmp_path):
    """The weights are those of a training without; tensorboard has what the log has."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    flags = (*STAGE1, "--data_path", stores / "texts", "--revision_aligner", stores / "realign", "--max_steps", 2)
    probe = ("--revision_probe", world_files / "paired.json", "--revision_probe_images", world_files / "images")
    train(tmp_path / "plain", llms["qwen"], *flags)
    out = tmp_path / "watched"
    train(out, llms["qwen"], *flags, *probe, "--revision_probe_rows", 5, "--report_to", "tensorboard")
    found, expected = projector(out), projector(tmp_path / "plain")
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    (folder,) = (out / "runs").iterdir()
    events = accumulator.EventAccumulator(str(folder)).Reload()
    for name, count in (("probe_loss", 2), ("loss", 2), ("tokens_per_second", 2)):
        drawn = [(each.step, each.value) for each in events.Scalars(f"train/{name}")]
        logged = [(entry["step"], pytest.approx(entry[name])) for entry in history if name in entry]
        assert drawn == logged and len(drawn) == count, name


def test_what_it_would_do_silently_is_refused(llms, stores, world_files, tmp_path):
    stage2 = (*STAGE2, "--image_folder", world_files / "images")
    records = json.loads((world_files / "questions.json").read_text())
    records[1]["image"] = "missing.png"
    (tmp_path / "broken.json").write_text(json.dumps(records[:4]))
    lost = train(tmp_path / "a", llms["qwen"], *stage2, "--data_path", tmp_path / "broken.json", expect=2)
    assert "missing.png: no such file" in lost.stderr, "an unreadable item is not replaced by the next one"
    data = ("--data_path", world_files / "questions.json")
    parts = train(tmp_path / "b", llms["qwen"], *stage2, *data, "--image_aspect_ratio", "anyres", expect=2)
    assert "--image_aspect_ratio anyres cuts images into parts" in parts.stderr
    other = tmp_path / "tiny-vicuna-qwen"
    other.symlink_to(llms["qwen"])
    wrong = train(tmp_path / "c", other, *stage2, *data, expect=2)
    assert "chooses the model's class by its path and takes it for 'llama'" in wrong.stderr


@pytest.mark.parametrize("stage", ["stage 1", "stage 2"])
def test_two_processes_killed(stage, llms, stores, world_files, tmp_path):
    flags = (*STAGE1, "--data_path", stores / "texts", "--revision_aligner", stores / "realign")
    if stage == "stage 2":
        flags = (*STAGE2, *image_flags(world_files))
    more = ("--gradient_checkpointing", "False", "--dataloader_num_workers", "0", "--use_cpu", "True")

    def begin(out):
        environment = {**ENVIRONMENT, "PYTHONPATH": CHECKOUT, "HF_HUB_OFFLINE": "1"}
        return start(out, llms["qwen"], *flags, *more, launcher=torchrun(), environment=environment, steps=60, every=12)

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish(begin(whole), whole)
    stop_after_checkpoint(begin(cut), cut, signal.SIGKILL)
    finish(begin(cut), cut)
    read = projector if stage == "stage 1" else lambda folder: load_file(folder / "model.safetensors")
    resumed_weights, reference_weights = read(cut), read(whole)
    assert all(torch.equal(resumed_weights[key], reference_weights[key]) for key in reference_weights)
