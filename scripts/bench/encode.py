"""`revision encode` against the bare forward pass of the same model, and against a loop that batches in the corpus'
order.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from revision_plugin.demo.tokenizer import build_encoder_tokenizer
from revision_plugin.embeddings.encode import encode_images, encode_texts
from revision_plugin.encoders import load_encoder
from scripts.bench.machine import describe_machine


def make_encoder(folder: Path, layers: int, window: int) -> str:
    """A random CLIP of transformers: ViT at 224 pixels, and a text tower with a long window, as LLM2CLIP's has."""
    tokenizer = build_encoder_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape = dict(hidden_size=512, intermediate_size=2048, num_hidden_layers=layers, num_attention_heads=8)
    text = dict(**shape, vocab_size=len(tokenizer), max_position_embeddings=window, eos_token_id=len(tokenizer) - 1)
    CLIPModel(
        CLIPConfig(text_config=text, vision_config=dict(**shape, image_size=224, patch_size=32), projection_dim=256)
    ).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    return f"hf:{folder}"


def make_corpus(folder: Path, images: int, texts: int, window: int) -> None:
    """JPEGs of 320 x 240 pixels, and texts whose lengths vary as captions' do: most short, some as long as the
    window.
    """
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for index in range(images):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((320, 240)).save(folder / "images" / f"{index:05d}.jpg", quality=90)
    lengths = np.clip(rng.lognormal(3.0, 1.0, texts), 3, window - 3).astype(int)
    (folder / "texts.json").write_text(json.dumps([{"id": str(i), "text": "dog " * n} for i, n in enumerate(lengths)]))


def seconds_of(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=768)
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_corpus(root, a.images, a.texts, a.window)
        encoder = load_encoder(make_encoder(root / "clip", a.layers, a.window))
        texts = [row["text"] for row in json.loads((root / "texts.json").read_text())]
        ordered = sorted(texts, key=len)
        tokenized = [encoder.tokenize(ordered[i : i + a.batch_size]) for i in range(0, a.texts, a.batch_size)]
        pixels = torch.randn(a.batch_size, 3, 224, 224)
        encoder.encode_pixels(pixels)
        number = iter(range(1000))

        def bare_images():
            for _ in range(a.images // a.batch_size):
                encoder.encode_pixels(pixels)

        def bare_texts():
            for tokens in tokenized:
                encoder.encode_tokens(tokens)

        def naive_texts():
            for start in range(0, a.texts, a.batch_size):
                encoder.encode_texts(texts[start : start + a.batch_size])

        settings = dict(batch_size=a.batch_size)
        works = {
            "images, bare forward": bare_images,
            "images, revision encode": lambda: encode_images(
                encoder, root / "images", root / f"i{next(number)}", **settings
            ),
            "texts, bare forward": bare_texts,
            "texts, revision encode": lambda: encode_texts(
                encoder, root / "texts.json", root / f"t{next(number)}", **settings
            ),
            "texts, batches in the corpus' order": naive_texts,
        }
        rounds = [{name: seconds_of(work) for name, work in works.items()} for _ in range(a.rounds)]
        best = {name: min(times[name] for times in rounds) for name in works}
    print(describe_machine())
    print(
        f"{a.images} images, {a.texts} texts, {a.layers} layers of width 512, batches of {a.batch_size}, best of "
        f"{a.rounds}"
    )
    for name, seconds in best.items():
        count = a.images if name.startswith("images") else a.texts
        print(f"{name:38s}{seconds:8.2f} s {count / seconds:9.1f} /s")
    for kind in ("images", "texts"):
        print(
            f"{kind}: {best[f'{kind}, bare forward'] / best[f'{kind}, revision encode']:.1%} of the bare "
            "forward's throughput"
        )
    ratio = best["texts, batches in the corpus' order"] / best["texts, revision encode"]
    print(f"texts: {ratio:.2f} x as fast as batches in the corpus' order")


if __name__ == "__main__":
    main()
