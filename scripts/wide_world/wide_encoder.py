"""Trains the wide world's dual encoders, with open_clip's model and loss; written as folders for `open_clip:FOLDER`.

They differ in the inverse temperature, which decides how far images and texts stay apart, and in the cone of the image
tower. Which are used was decided by gap, traces and retrieval alone, before any aligner was compared on them.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from safetensors.torch import load_file

from revision_plugin.demo.tokenizer import build_encoder_tokenizer
from scripts.demo_artefacts.demo_encoder import pixels_to_tensor, token_ids
from scripts.demo_artefacts.small_training import SavedState, set_rate
from scripts.dual_encoder.clip import bound_logit_scale, half_weights, new_clip, new_optimizer, write_clip
from scripts.dual_encoder.demo_model import preprocess_config
from scripts.wide_world.wide_captions import human_caption, vocabulary_words
from scripts.wide_world.wide_pictures import SIDE, draw_scenes
from scripts.wide_world.wide_scenes import WideScene, altered, sample_wide_scenes

FACTS, FACT_WEIGHTS = ("thing", "place", "number", "size", "background"), (0.4, 0.3, 0.1, 0.1, 0.1)
GALLERY = 1000
SAVED_EVERY = 200


@dataclass(frozen=True)
class WideEncoderRecipe:
    """Settings of one training. A batch holds `pairs` scenes and as many that differ from them in one fact each."""

    steps: int = 3000
    pairs: int = 128
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: int = 60
    logit_scale: float = 1 / 0.07  # inverse temperature at the start, as in CLIP
    highest_logit_scale: float = 100.0
    image_cone: float = 0.0  # length of a constant vector in the image tower's output, whose features reach about 70
    begin: str = ""  # the folder of an encoder of the same form to begin with, instead of random weights
    scenes: int = 30000
    embedding: int = 256
    vision_width: int = 16
    text_width: int = 128
    seed: int = 0


def encoder_config(recipe: WideEncoderRecipe, vocabulary: int) -> dict:
    """open_clip's model config."""
    return {
        "embed_dim": recipe.embedding,
        "vision_cfg": {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": recipe.vision_width, "head_width": 32},
        "text_cfg": {
            "context_length": 32,  # four captions in a thousand are longer, and are cut
            "vocab_size": vocabulary,
            "hf_tokenizer_name": "tokenizer.json",
            "width": recipe.text_width,
            "heads": recipe.text_width // 32,
            "layers": 2,
        },
    }


def trained_pairs(recipe: WideEncoderRecipe) -> tuple[list[WideScene], np.ndarray]:
    """Training scenes, each followed by its altered twin, and their pictures. No twin is held out."""
    rng = np.random.default_rng([recipe.seed, 1])
    scenes: list[WideScene] = []
    for scene in sample_wide_scenes(recipe.scenes, seed=recipe.seed, held_out=False):
        twin = altered(scene, str(rng.choice(FACTS, p=FACT_WEIGHTS)), rng)
        while twin.held_out:
            twin = altered(scene, "background", rng)
        scenes += [scene, twin]
    return scenes, draw_scenes(scenes, seed=recipe.seed)


def gap_and_retrieval(model, tokenizer, *, length: int, seed: int = 90) -> dict[str, float]:
    """On GALLERY held-out scenes with their human captions: centroid gap, traces, and retrieval both ways."""
    scenes = sample_wide_scenes(GALLERY, seed=seed, held_out=True)
    pictures = draw_scenes(scenes, seed=seed)
    captions = [human_caption(scene, np.random.default_rng([seed, i])) for i, scene in enumerate(scenes)]
    model.eval()
    device = model.logit_scale.device
    with torch.no_grad():
        parts = [pixels_to_tensor(part).to(device) for part in np.array_split(pictures, 4)]
        image = torch.cat([model.encode_image(part, normalize=True) for part in parts]).cpu().double()
        text = model.encode_text(token_ids(tokenizer, captions, length).to(device), normalize=True).cpu().double()
    model.train()
    similarity = image @ text.T
    own = similarity.diagonal()
    figures = {
        "image_to_text_recall_at_1": (similarity > own[:, None]).sum(1).eq(0).double().mean(),
        "text_to_image_recall_at_1": (similarity > own[None]).sum(0).eq(0).double().mean(),
        "centroid_gap": (image.mean(0) - text.mean(0)).norm(),
        "image_trace": 1 - image.mean(0).square().sum(),
        "text_trace": 1 - text.mean(0).square().sum(),
        "paired_cosine": own.mean(),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def add_image_cone(model, length: float, seed: int) -> None:
    """Give the image tower's output, before it is normalised, a constant vector of this length that is not trained.

    Images then lie in a narrow cone, as those of real encoders do whose features share a large constant part, and
    texts spread the more: the loss asks for the product of both spreads alone.
    """
    bias = model.visual.attnpool.c_proj.bias
    direction = torch.randn(len(bias), generator=torch.Generator().manual_seed(seed)).to(bias.device)
    bias.data = bias.data + length * direction / direction.norm()
    bias.requires_grad_(False)


def train_wide_encoder(out: Path, recipe: WideEncoderRecipe, *, device: torch.device, log=print) -> dict:
    """Train from nothing or from `recipe.begin`, write the folder `out` and return its provenance.

    The state lies beside `out` every SAVED_EVERY steps; the same call goes on from it, with the same result.
    """
    torch.manual_seed(recipe.seed)
    tokenizer = build_encoder_tokenizer(vocabulary_words())
    config = encoder_config(recipe, len(tokenizer))
    length = config["text_cfg"]["context_length"]
    model = new_clip(config, logit_scale=recipe.logit_scale, output_dict=False)
    model = model.to(device, memory_format=torch.channels_last).train()
    if recipe.begin:
        model.load_state_dict(load_file(Path(recipe.begin) / "open_clip_model.safetensors"))
    if recipe.image_cone:
        add_image_cone(model, recipe.image_cone, recipe.seed)
    optimizer = new_optimizer(model, rate=recipe.learning_rate, weight_decay=recipe.weight_decay, epsilon=1e-8)
    loss_function = ClipLoss()
    scenes, pictures = trained_pairs(recipe)
    log(f"{len(scenes)} scenes, {sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters")
    saved, started = (
        SavedState(out.with_name(out.name + ".state.pt"), model=model, optimizer=optimizer),
        time.monotonic(),
    )
    first = saved.load(device, log)
    for step in range(first, recipe.steps):
        rng = np.random.default_rng([recipe.seed, 2, step])
        set_rate(optimizer, recipe, step, floor=0.01)
        chosen = rng.choice(recipe.scenes, recipe.pairs, replace=False)
        batch = np.concatenate([2 * chosen, 2 * chosen + 1])
        tokens = token_ids(tokenizer, [human_caption(scenes[i], rng) for i in batch], length).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            image, text = model.encode_image(pixels_to_tensor(pictures[batch]).to(device)), model.encode_text(tokens)
        image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
        loss = loss_function(image, text, model.logit_scale.exp())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        bound_logit_scale(model, recipe.highest_logit_scale)
        done = step + 1
        if done % 50 == 0:
            quality = gap_and_retrieval(model, tokenizer, length=length) if done % SAVED_EVERY == 0 else ""
            rest = (time.monotonic() - started) / (done - first) * (recipe.steps - done)
            scale = model.logit_scale.exp().item()
            log(f"step {done}/{recipe.steps} {rest:.0f} s left, loss {loss.item():.3f} scale {scale:.1f} {quality}")
        if done % SAVED_EVERY == 0:
            saved.save(done)
    write_clip(out, half_weights(model), config, preprocess_config(), tokenizer)
    record = {
        "license": "Apache-2.0",
        "data": "scenes of the wide world, made by the script",
        "recipe": asdict(recipe),
        "device": device.type,
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "logit_scale": round(model.logit_scale.exp().item(), 2),
        "held_out": gap_and_retrieval(model, tokenizer, length=length),
    }
    saved.remove()
    return record
