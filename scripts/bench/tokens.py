"""Stage 1 at several numbers of visual tokens: time of a step and peak memory, and the held-out loss they end with.

Each run is the real training in a process of its own, on a store of the embedded world's captions.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

from revision_plugin.demo import corpus, world
from revision_plugin.demo.jobs import COMMON_FLAGS
from revision_plugin.demo.smollm2 import export_smollm2
from revision_plugin.encoders import load_encoder
from revision_plugin.hosts import find_host
from scripts.bench.machine import describe_machine
from scripts.bench.training_time import timed_training

HELD_OUT = 100


def prepare(root: Path, texts: int) -> None:
    """A text store, an image store and their aligner."""
    scenes = world.sample_scenes(texts, seed=1, held_out=False)
    corpus.write_corpus(root / "texts.json", corpus.caption_records(scenes))
    corpus.write_images(world.sample_scenes(min(texts, 1000), seed=2, held_out=False), root / "pictures", seed=2)
    for words in (
        ["encode", "--encoder", "demo", "--texts", root / "texts.json", "--out", root / "texts"],
        ["encode", "--encoder", "demo", "--images", root / "pictures", "--out", root / "images"],
        ["fit", "--source", root / "texts", "--target", root / "images", "--out", root / "aligner"],
    ):
        subprocess.run([sys.executable, "-m", "revision_plugin.cli", *map(str, words)], check=True, capture_output=True)


def train(root: Path, model: Path, tokens: int, steps: int, batch: int, rate: float) -> tuple[Path, float, float]:
    """(output, seconds a step, peak megabytes) of one Stage 1."""
    out = root / f"{model.name}-{tokens}"
    flags = [
        *COMMON_FLAGS,
        "--version",
        "plain",
        "--tune_mm_mlp_adapter",
        "True",
        "--model_name_or_path",
        model,
        "--revision_encoder",
        "demo",
        "--revision_tokens",
        tokens,
        "--data_path",
        root / "texts",
        "--revision_aligner",
        root / "aligner",
        "--per_device_train_batch_size",
        batch,
        "--learning_rate",
        rate,
        "--seed",
        1,
    ]
    return out, *timed_training(flags, out, steps)


def held_out_loss(out: Path, model: Path) -> float:
    """Mean negative log-likelihood, nats a token, of held-out captions given their real images."""
    scenes = world.sample_scenes(HELD_OUT, seed=900, held_out=True, distinct=True)
    pictures = [Image.fromarray(picture) for picture in world.render_all(scenes, seed=900)]
    assistant, encoder = find_host().load(str(out), base=str(model)), load_encoder("demo")
    losses = []
    for start in range(0, HELD_OUT, 10):
        pixels = encoder.image_processor.preprocess(pictures[start : start + 10])["pixel_values"]
        losses.append(assistant.likelihood(pixels, [world.caption(scene) for scene in scenes[start : start + 10]]))
    return float(torch.tensor(losses).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 16, 64, 576])
    parser.add_argument("--steps", type=int, default=20, help="of the timed runs")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--loss-steps", type=int, default=0, help="also train the small model this long and measure its held-out loss"
    )
    parser.add_argument("--loss-tokens", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument(
        "--smollm2", action="store_true", help="also time SmolLM2-135M, a quarter of the batch and of the steps"
    )
    a = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        prepare(root, 4000)
        models = [(world.ASSETS / "llm", a.steps, a.batch)]
        if a.smollm2:
            models.append((export_smollm2(root / "smollm2"), max(1, a.steps // 4), max(1, a.batch // 4)))
        for model, steps, batch in models:
            first = None
            print(f"{model.name}, batches of {batch}, {steps} steps")
            for tokens in a.tokens:
                _, seconds, memory = train(root, model, tokens, steps, batch, 1e-3)
                first = first or seconds
                print(
                    f"  {tokens:4d} tokens {seconds:8.3f} s a step ({seconds / first:5.1f} x), peak {memory:7.0f} MB",
                    flush=True,
                )
        if a.loss_steps:
            (root / "losses").mkdir()
            for entry in ("texts", "aligner"):
                (root / "losses" / entry).symlink_to(root / entry)
            model = world.ASSETS / "llm"
            print(f"held-out loss given the image after {a.loss_steps} steps of {a.batch} at 1.5e-2, one seed")
            for tokens in a.loss_tokens:
                out, seconds, _ = train(root / "losses", model, tokens, a.loss_steps, a.batch, 1.5e-2)
                print(
                    f"  {tokens:4d} tokens {held_out_loss(out, model):.3f} nats a token, "
                    f"{seconds * a.loss_steps:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
