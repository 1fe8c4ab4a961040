"""The parts of `scripts.bench.gpu`: each gives rows of one table."""

from __future__ import annotations

import functools
import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import LlamaConfig

from revision_plugin.aligners import ALIGNERS, load_aligner
from revision_plugin.demo import corpus, world
from revision_plugin.demo.jobs import COMMON_FLAGS
from revision_plugin.demo.questions import questions
from revision_plugin.demo.smollm2 import export_smollm2
from revision_plugin.embeddings.encode import encode_images, encode_texts
from revision_plugin.encoders import load_encoder
from revision_plugin.errors import RevisionError
from revision_plugin.hosts import find_host
from scripts.bench import encode as encode_bench
from scripts.bench.tokens import prepare

SCRIPTS = Path(__file__).parents[1]
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40": 181e12, "4090": 165e12}  # dense bf16, as published
LLAMA_3_8B = dict(
    vocab_size=128256,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
)
TINY = dict(
    vocab_size=512,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
)


@dataclass
class Ground:
    """Where the parts work, and on what: `tiny` on a CPU with the shipped model, else on the GPU with SmolLM2."""

    root: Path
    tiny: bool

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.tiny else "cuda")

    @functools.cached_property
    def model(self) -> Path:
        return world.ASSETS / "llm" if self.tiny else export_smollm2(self.root / "smollm2")

    @functools.cached_property
    def data(self) -> Path:
        """A text store, its aligner, and questions about images, made once."""
        if not (self.root / "questions.json").exists():
            if not (self.root / "aligner").exists():
                prepare(self.root, 64 if self.tiny else 2000)
            scenes = world.sample_scenes(16 if self.tiny else 500, seed=3, held_out=False)
            names = corpus.write_images(scenes, self.root / "asked", seed=3)
            corpus.write_corpus(self.root / "questions.json", corpus.question_records(scenes, names, seed=3))
        return self.root

    def synchronize(self) -> None:
        if not self.tiny:
            torch.cuda.synchronize()


def _train(ground: Ground, name: str, steps: int, *flags: Any, zero: int | None = None) -> Path:
    """One training in a process of its own; what was finished before is kept."""
    out = ground.root / name
    if (out / "mm_projector.bin").exists() or (out / "config.json").exists():
        return out
    launcher = [sys.executable, "-P"]
    if zero:
        launcher = [str(Path(sys.executable).with_name("deepspeed")), "--num_gpus", "1"]
        flags = (*flags, "--deepspeed", SCRIPTS / f"zero{zero}.json")
    precision = ["--use_cpu", "True"] if ground.tiny else ["--bf16", "True", "--tf32", "True"]
    shared = ["--model_name_or_path", ground.model, "--revision_encoder", "demo", "--max_steps", steps]
    shared += ["--logging_steps", 1, "--output_dir", out]
    command = [*launcher, SCRIPTS / "train.py", *COMMON_FLAGS, *shared, *precision, *flags]
    with open(f"{out}.log", "wb") as log:
        status = subprocess.run(list(map(str, command)), stdout=log, stderr=log, env=_environment()).returncode
    if status:
        lines = [line for line in Path(f"{out}.log").read_text(errors="replace").splitlines() if line.strip()]
        raise RevisionError(f"{name} ended with status {status}: {lines[-1] if lines else 'no word'}")
    return out


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def _row(ground: Ground, out: Path, what: str, steps: int) -> dict[str, Any]:
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    seconds = next(entry["train_runtime"] for entry in history if "train_runtime" in entry)
    return {"training": what, "s a step": seconds / steps, "first loss": losses[0], "last loss": losses[-1]}


def _stage1_flags(ground: Ground) -> tuple:
    aligned = ("--data_path", ground.data / "texts", "--revision_aligner", ground.data / "aligner")
    batch = ("--per_device_train_batch_size", 4 if ground.tiny else 32, "--learning_rate", "1e-3")
    return ("--version", "plain", "--tune_mm_mlp_adapter", "True", *aligned, *batch)


def _stage2_flags(ground: Ground) -> tuple:
    images = ("--data_path", ground.data / "questions.json", "--image_folder", ground.data / "asked")
    batch = ("--per_device_train_batch_size", 4 if ground.tiny else 16, "--learning_rate", "1e-4")
    return ("--version", "v1" if ground.tiny else "smollm2", *images, *batch)


def stages(ground: Ground) -> list[dict[str, Any]]:
    """Stage 1 and Stage 2, under ZeRO-2 and ZeRO-3 where there is a GPU."""
    rows = []
    steps = 2 if ground.tiny else 40
    for zero in (None,) if ground.tiny else (2, 3):
        name = f"zero{zero}" if zero else "plain"
        first = _train(ground, f"stage1-{name}", steps, *_stage1_flags(ground), zero=zero)
        rows.append(_row(ground, first, f"Stage 1, {name}", steps))
        projector = ("--pretrain_mm_mlp_adapter", first / "mm_projector.bin")
        second = _train(ground, f"stage2-{name}", steps, *_stage2_flags(ground), *projector, zero=zero)
        rows.append(_row(ground, second, f"Stage 2, {name}", steps))
    return rows


def qlora(ground: Ground) -> list[dict[str, Any]]:
    """Stage 2 on adapters over a model in 4 bits."""
    steps = 2 if ground.tiny else 40
    lora = ("--lora_enable", "True", "--lora_r", 8, "--bits", 4)
    return [_row(ground, _train(ground, "qlora", steps, *_stage2_flags(ground), *lora), "Stage 2, QLoRA", steps)]


def large_step(ground: Ground) -> list[dict[str, Any]]:
    """A Stage-1 step (the language model frozen) at 1 and 576 visual tokens: time, memory, and which share of the
    device's published peak 4 x parameters x tokens operations make: forward, and backward without weights.
    """
    find_host().install()
    train = importlib.import_module("llava.train.train")
    language_model = importlib.import_module("llava.model.language_model.llava_llama")
    shape = LlamaConfig(**(TINY if ground.tiny else LLAMA_3_8B)).to_dict()
    config = language_model.LlavaConfig(**{**shape, "model_type": "llava_llama"})
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if ground.tiny else torch.bfloat16)
    try:
        with ground.device:
            model = language_model.LlavaLlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.requires_grad_(False)
    model.gradient_checkpointing_enable()
    model.train()
    parameters = sum(p.numel() for p in model.parameters())
    rows = []
    for tokens in (1, 16) if ground.tiny else (1, 576):
        arguments = train.ModelArguments(
            vision_tower="revision",
            revision_encoder="demo",
            revision_aligner=str(ground.data / "aligner"),
            revision_tokens=tokens,
            mm_projector_type="mlp2x_gelu",
            version="plain",
        )
        model.get_model().vision_tower = None
        model.get_model().initialize_vision_modules(arguments)
        tower = model.get_vision_tower()
        tower.to(ground.device, model.dtype)
        projector = model.get_model().mm_projector.to(ground.device, model.dtype).requires_grad_(True)
        batch = 2 if ground.tiny else (32 if tokens == 1 else 8)
        seconds, memory = _time_steps(ground, model, projector, batch, 8 if ground.tiny else 128, tower.hidden_size)
        length = (8 if ground.tiny else 128) + tokens
        peak = next((value for name, value in PEAK_FLOPS.items() if name in _device_name(ground)), None)
        rows.append(
            {
                "visual tokens": tokens,
                "batch": batch,
                "parameters": f"{parameters:.3g}",
                "s a step": seconds,
                "tokens a second": batch * length / seconds,
                "peak GB": memory,
                "MFU": 4 * parameters * batch * length / seconds / peak if peak else None,
            }
        )
    return rows


def _device_name(ground: Ground) -> str:
    return "" if ground.tiny else torch.cuda.get_device_name()


def _time_steps(ground: Ground, model, projector, batch: int, words: int, dim: int) -> tuple[float, float | None]:
    """Seconds of a step, the mean of several after two, and the device's peak memory in GB."""
    image_token = importlib.import_module("llava.constants").IMAGE_TOKEN_INDEX
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 500, (batch, 1 + words), generator=generator)
    ids[:, 0] = image_token
    labels = ids.clone()
    labels[:, 0] = -100
    inputs = dict(input_ids=ids, labels=labels, attention_mask=torch.ones_like(ids))
    inputs = {name: value.to(ground.device) for name, value in inputs.items()}
    images = torch.nn.functional.normalize(torch.randn(batch, dim, generator=generator), dim=1)
    images = images.to(ground.device, model.dtype)
    optimizer = torch.optim.AdamW(projector.parameters(), lr=1e-4)
    if not ground.tiny:
        torch.cuda.reset_peak_memory_stats()
    steps = 2 if ground.tiny else 6
    started = 0.0
    for step in range(2 + steps):
        if step == 2:
            ground.synchronize()
            started = time.perf_counter()
        model(images=images, use_cache=False, **inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    ground.synchronize()
    memory = None if ground.tiny else torch.cuda.max_memory_allocated() / 1e9
    return (time.perf_counter() - started) / steps, memory


def encode(ground: Ground) -> list[dict[str, Any]]:
    """Items a second of the command's own function, beside the bare forward pass on data that is already there."""
    folder = ground.root / "encode"
    images, texts, layers, batch = (8, 16, 1, 4) if ground.tiny else (2048, 4096, 12, 128)
    if not folder.exists():
        folder.mkdir()
        encode_bench.make_corpus(folder, images, texts, 64)
        encode_bench.make_encoder(folder / "clip", layers, 64)
    encoder = load_encoder(f"hf:{folder / 'clip'}").to(device=ground.device)
    pixels = torch.randn(batch, 3, 224, 224)
    strings = [row["text"] for row in json.loads((folder / "texts.json").read_text())]
    tokens = [encoder.tokenize(sorted(strings, key=len)[i : i + batch]) for i in range(0, texts, batch)]
    encoder.encode_pixels(pixels)
    stamp = time.monotonic_ns()
    works = {
        "images": (
            lambda: [encoder.encode_pixels(pixels).cpu() for _ in range(images // batch)],
            lambda: encode_images(encoder, folder / "images", folder / f"i{stamp}", batch_size=batch),
        ),
        "texts": (
            lambda: [encoder.encode_tokens(part).cpu() for part in tokens],
            lambda: encode_texts(encoder, folder / "texts.json", folder / f"t{stamp}", batch_size=batch),
        ),
    }
    rows = []
    for name, (bare, whole) in works.items():
        count = images if name == "images" else texts
        bare_seconds, whole_seconds = encode_bench.seconds_of(bare), encode_bench.seconds_of(whole)
        speed = {"bare forward /s": count / bare_seconds, "revision encode /s": count / whole_seconds}
        rows.append({"items": name, **speed, "share": bare_seconds / whole_seconds})
    return rows


def fits(ground: Ground) -> list[dict[str, Any]]:
    """Every aligner fitted on the device and on the CPU: time, and the largest difference of an aligned embedding."""
    rng = np.random.default_rng(0)
    count, dim = (200, 16) if ground.tiny else (100_000, 1280)
    texts, images = (rng.normal(size=(count, dim)).astype(np.float32) + shift for shift in (0.1, -0.1))
    rows = []
    for method in ("mean_shift", "realign", "bc"):
        seconds, aligned = {}, {}
        for device in ("cpu", ground.device.type):
            aligner = ALIGNERS.get(method)()
            fit = functools.partial(aligner.fit, texts, images, held_out=0, device=device)
            seconds[device] = encode_bench.seconds_of(fit)
            aligned[device] = aligner.transform(texts[:1000])
        difference = float(np.abs(aligned["cpu"] - aligned[ground.device.type]).max())
        times = {"CPU s": seconds["cpu"], "device s": seconds[ground.device.type]}
        rows.append({"aligner": method, **times, "largest difference": difference})
    return rows


def answers(ground: Ground) -> list[dict[str, Any]]:
    """The share of equal answers of one checkpoint in half precision and in float32, to questions about images."""
    name = "plain" if ground.tiny else "zero2"
    checkpoint = ground.root / f"stage2-{name}"
    if not (checkpoint / "config.json").exists():
        raise RevisionError("no checkpoint to ask; run the part 'stages' first")
    scenes = world.sample_scenes(4 if ground.tiny else 50, seed=900, held_out=True, distinct=True)
    pictures = [Image.fromarray(picture) for picture in world.render_all(scenes, seed=900)]
    asked = [(pictures[number], question.text) for number, question in questions(scenes, seed=900)][: 8 * len(scenes)]
    replies = {}
    for kind, device in (("float32", "cpu"), ("half", ground.device.type)):
        assistant = find_host().load(str(checkpoint), device=device)
        if kind == "half" and ground.tiny:
            assistant.model.to(torch.bfloat16)
        replies[kind] = [
            answer
            for start in range(0, len(asked), 16)
            for answer in assistant.ask(*zip(*asked[start : start + 16]), max_new_tokens=6)
        ]
    equal = np.mean([one == other for one, other in zip(replies["float32"], replies["half"])])
    return [{"questions": len(asked), "equal answers": float(equal), "aligner's method": _method(ground)}]


def _method(ground: Ground) -> str:
    return load_aligner(ground.data / "aligner").method
