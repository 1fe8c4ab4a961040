"""Trains the demo dual encoder on the embedded world with open_clip's model and loss.

Written as an open_clip `local-dir:` folder (config, safetensors, tokenizer), so that the shipped encoder
loads through the same code as any other open_clip checkpoint.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from sklearn.linear_model import Ridge

from revision_plugin.demo import world
from revision_plugin.demo.tokenizer import build_encoder_tokenizer
from scripts.demo_artefacts.small_training import set_rate
from scripts.dual_encoder.clip import bound_logit_scale, half_weights, new_clip, new_optimizer, write_clip
from scripts.dual_encoder.demo_model import CONTEXT_LENGTH, PIXEL_MEAN, PIXEL_STD, model_config, preprocess_config

RETRIEVAL_SIZE = 256
PROBE_SCENES = 2500


@dataclass(frozen=True)
class EncoderRecipe:
    """Settings of one training run. `logit_scale` is the initial inverse temperature (1/0.07 as in CLIP).

    A batch holds `groups` groups of up to `arrangements` scenes that differ in their objects' places alone:
    without these hard negatives a contrastive loss is met by naming the objects, and places are never learnt.
    `highest_logit_scale` bounds the learnt inverse temperature: the colder the loss, the farther images and texts
    stay apart, in their means and in their fine structure.
    """

    steps: int = 1800
    groups: int = 128
    arrangements: int = 2
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: int = 60
    logit_scale: float = 1 / 0.07
    highest_logit_scale: float = 16.0
    scenes: int = 20000
    seed: int = 0


def pixels_to_tensor(images: np.ndarray):
    """uint8 [N, H, W, 3] -> normalised float32 [N, 3, H, W], channels last in memory."""
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255).sub_(PIXEL_MEAN).div_(PIXEL_STD)
    return tensor.contiguous(memory_format=torch.channels_last)


def token_ids(tokenizer, captions: list[str], length: int = CONTEXT_LENGTH) -> torch.Tensor:
    """Ids [N, length] of captions, padded or cut."""
    padded = tokenizer(captions, return_tensors="pt", padding="max_length", truncation=True, max_length=length)
    return padded.input_ids


def _embed_scenes(model, tokenizer, scenes: list[world.Scene], *, seed: int):
    """Unit-norm embeddings [N, D] of the scenes' pictures and of their full captions; leaves the model in training
    mode.
    """
    model.eval()
    with torch.no_grad():
        image = model.encode_image(pixels_to_tensor(world.render_all(scenes, seed=seed)), normalize=True)
        text = model.encode_text(token_ids(tokenizer, [world.caption(s) for s in scenes]), normalize=True)
    model.train()
    return image, text


def held_out_quality(model, tokenizer, *, rounds: int = 4) -> dict[str, float]:
    """Retrieval among 256 held-out scenes (image to full caption) and the raw modality gap, mean over rounds."""
    rows = []
    for round_ in range(rounds):
        scenes = world.sample_scenes(RETRIEVAL_SIZE, seed=90 + round_, held_out=True, distinct=True)
        image, text = _embed_scenes(model, tokenizer, scenes, seed=90 + round_)
        similarity = image @ text.T
        rank = (similarity > similarity.diagonal()[:, None]).sum(1)
        trace = lambda e: float((e - e.mean(0)).square().sum(1).mean())  # noqa: E731
        rows.append(
            {
                "recall_at_1": float((rank < 1).float().mean()),
                "recall_at_5": float((rank < 5).float().mean()),
                "centroid_gap": float((image.mean(0) - text.mean(0)).norm()),
                "image_trace": trace(image),
                "text_trace": trace(text),
            }
        )
    return {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}


def place_probe(model, tokenizer, *, seed: int = 2) -> dict[str, float]:
    """How often a linear (ridge) probe on an embedding finds the quadrant of an object that is there (chance 0.25).

    Fitted on four fifths of PROBE_SCENES scenes, measured on the rest, for each modality by itself.
    """
    scenes = world.sample_scenes(PROBE_SCENES, seed=seed, held_out=False, distinct=True)
    image, text = _embed_scenes(model, tokenizer, scenes, seed=seed)
    where = np.zeros((len(scenes), len(world.object_names()), len(world.QUADRANTS)))
    for row, scene in enumerate(scenes):
        for index, quadrant in scene.objects:
            where[row, index, quadrant] = 1
    fitted, right = len(scenes) * 4 // 5, {}
    for name, rows in (("image_place_probe", image), ("text_place_probe", text)):
        rows = rows.double().numpy()
        probe = Ridge(alpha=0.05).fit(rows[:fitted], where[:fitted].reshape(fitted, -1))
        predictions = probe.predict(rows[fitted:]).reshape(-1, *where.shape[1:]).argmax(-1)
        placements = [(r, o, q) for r, scene in enumerate(scenes[fitted:]) for o, q in scene.objects]
        right[name] = round(float(np.mean([predictions[r, o] == q for r, o, q in placements])), 4)
    return right


def train_encoder(out: Path, recipe: EncoderRecipe, *, log=print) -> dict:
    """Train from nothing, write the folder `out` and return its provenance record."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    config, tokenizer = model_config(), build_encoder_tokenizer()
    model = new_clip(config, logit_scale=recipe.logit_scale, output_dict=False)
    model = model.to(memory_format=torch.channels_last).train()
    loss_function = ClipLoss()
    optimizer = new_optimizer(model, rate=recipe.learning_rate, weight_decay=recipe.weight_decay, epsilon=1e-8)
    groups, scenes = [], []
    for scene in world.sample_scenes(recipe.scenes, seed=recipe.seed, held_out=False):
        group = world.rearrangements(scene, rng, most=recipe.arrangements)
        groups.append(np.arange(len(scenes), len(scenes) + len(group)))
        scenes += group
    pictures = world.render_all(scenes, seed=recipe.seed)
    log(f"{len(scenes)} scenes, {sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters")

    started, order = time.time(), np.empty(0, int)
    for step in range(recipe.steps):
        set_rate(optimizer, recipe, step, floor=0.01)
        if len(order) < recipe.groups:
            order = rng.permutation(len(groups))
        chosen, order = order[: recipe.groups], order[recipe.groups :]
        batch = np.concatenate([groups[i] for i in chosen])
        tokens = token_ids(tokenizer, [world.partial_caption(scenes[i], rng) for i in batch])
        with torch.autocast("cpu", torch.bfloat16):
            image, text = model.encode_image(pixels_to_tensor(pictures[batch])), model.encode_text(tokens)
        image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
        loss = loss_function(image, text, model.logit_scale.exp())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        bound_logit_scale(model, recipe.highest_logit_scale)
        if step % 50 == 49 or step == 0:
            quality = ""
            if step % 200 == 199:
                quality = held_out_quality(model, tokenizer, rounds=1) | place_probe(model, tokenizer)
            log(f"step {step + 1}/{recipe.steps} {time.time() - started:.0f} s loss {loss.item():.3f} {quality}")

    quality = held_out_quality(model, tokenizer) | place_probe(model, tokenizer)
    write_clip(out, half_weights(model), config, preprocess_config(), tokenizer)
    return {
        "license": "Apache-2.0",
        "data": "scenes of the embedded world, made by the script",
        "recipe": recipe.__dict__,
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "held_out": quality,
    }
