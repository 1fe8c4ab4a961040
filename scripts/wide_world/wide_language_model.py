"""Trains the wide world's language model, a small Llama, on its text alone; it never sees a picture or an embedding.

It learns to write a human caption from nothing, from another caption of the same scene, and from ONE input position,
which large language models can read from and one visual token needs: the sum of learned vectors for the scene's facts,
each thing bound to its place by an elementwise product. The table of those vectors is thrown away after training.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from transformers import LlamaForCausalLM

from revision_plugin.demo.tokenizer import build_tokenizer
from scripts.demo_artefacts.small_training import SavedState, set_rate, small_llama, write_language_model
from scripts.wide_world.things import things
from scripts.wide_world.wide_captions import human_caption, plain_caption, vocabulary_words
from scripts.wide_world.wide_scenes import COLORS, PLACES, SIZES, WideScene, sample_wide_scenes

PACKED, NOTHING, OTHER_CAPTION, PLAIN = range(4)
CONTEXT_WEIGHTS = (0.85, 0.05, 0.05, 0.05)
NOISE = 0.6  # at most, of a packed vector's own size
SAVED_EVERY = 250
NUMBERS = 3


@dataclass(frozen=True)
class WideModelRecipe:
    """Settings of one training run; one step is `batch_size` captions."""

    steps: int = 12000
    batch_size: int = 40
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: int = 100
    hidden_size: int = 256
    layers: int = 4
    heads: int = 8
    scenes: int = 60000
    seed: int = 0


class PackedFacts(torch.nn.Module):
    """One vector [B, hidden] a scene: of each part its thing, number and size, times its place; plus the background.

    Each part is weighted at random and noise is added, so that reading from it tolerates error, as it must with what a
    projector makes of an image.
    """

    def __init__(self, hidden: int):
        super().__init__()
        self.thing, self.number = torch.nn.Embedding(len(things()), hidden), torch.nn.Embedding(NUMBERS, hidden)
        self.size, self.background = torch.nn.Embedding(len(SIZES), hidden), torch.nn.Embedding(len(COLORS), hidden)
        self.place = torch.nn.Embedding(PLACES, hidden)
        for table in (self.thing, self.number, self.size, self.background):
            torch.nn.init.normal_(table.weight, std=0.1)
        torch.nn.init.normal_(self.place.weight)

    def forward(self, scenes: list[WideScene], rng: np.random.Generator) -> torch.Tensor:
        rows, parts = zip(*[(row, part) for row, scene in enumerate(scenes) for part in scene.parts])
        device = self.thing.weight.device
        facts = torch.tensor([(p.thing, p.number - 1, p.size, p.place) for p in parts], device=device)
        thing, number, size, place = facts.T
        bound = (self.thing(thing) + self.number(number) + self.size(size)) * self.place(place)
        bound = bound * torch.from_numpy(rng.uniform(0.7, 1.3, (len(bound), 1)).astype(np.float32)).to(device)
        packed = self.background(torch.tensor([scene.background for scene in scenes], device=device))
        packed = packed.index_add(0, torch.tensor(rows, device=device), bound)
        noise = rng.normal(size=packed.shape) * rng.uniform(0, NOISE, (len(scenes), 1))
        return packed + torch.from_numpy(noise.astype(np.float32)).to(device) * packed.detach().square().mean().sqrt()


def caption_batch(tokenizer, scenes: list[WideScene], contexts: np.ndarray, rng: np.random.Generator):
    """Ids and labels [B, L] of context and caption; -1 stands for a packed vector, -100 for what is not learned."""
    rows = []
    for scene, context in zip(scenes, contexts):
        before: list[int] = [-1] if context == PACKED else []
        if context in (OTHER_CAPTION, PLAIN):
            text = plain_caption(scene) if context == PLAIN else human_caption(scene, rng)
            before = tokenizer(f"{text}\n", add_special_tokens=False).input_ids
        caption = tokenizer(f"{human_caption(scene, rng)}\n", add_special_tokens=False).input_ids
        rows.append(([tokenizer.bos_token_id, *before, *caption], [-100] * (1 + len(before)) + caption))
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), tokenizer.pad_token_id)
    labels = torch.full((len(rows), width), -100)
    for row, (tokens, targets) in enumerate(rows):
        ids[row, : len(tokens)], labels[row, : len(tokens)] = torch.tensor(tokens), torch.tensor(targets)
    return ids, labels


def _loss(model, facts: PackedFacts, ids, labels, scenes: list[WideScene], rng: np.random.Generator):
    ids, labels = ids.to(model.device), labels.to(model.device)
    embeds = model.get_input_embeddings()(ids.clamp_min(0))
    packed = (ids == -1).any(1).nonzero().flatten().tolist()
    if packed:
        vectors = facts([scenes[row] for row in packed], rng)
        embeds = embeds.index_put((ids == -1).nonzero(as_tuple=True), vectors.to(embeds.dtype))
    logits = model(inputs_embeds=embeds).logits[:, :-1].float()
    return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


@torch.no_grad()
def caption_losses(model, tokenizer, facts: PackedFacts, *, count: int = 300) -> dict[str, float]:
    """Nats a token of held-out scenes' human captions, by context."""
    model.eval()
    scenes, losses = sample_wide_scenes(count, seed=77, held_out=True), {}
    for name, context in {"nothing": NOTHING, "packed facts": PACKED, "plain caption": PLAIN}.items():
        rng = np.random.default_rng(77)
        ids, labels = caption_batch(tokenizer, scenes, np.full(count, context), rng)
        losses[f"from {name}"] = round(float(_loss(model, facts, ids, labels, scenes, rng)), 4)
    model.train()
    return losses


def train_wide_language_model(out: Path, recipe: WideModelRecipe, *, device: torch.device, log=print) -> dict:
    """Train from nothing, write a `transformers` folder `out` and return its provenance.

    The state lies beside `out` every SAVED_EVERY steps; the same call goes on from it, with the same result.
    """
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer(vocabulary_words())
    config = small_llama(tokenizer, recipe)
    model, facts = LlamaForCausalLM(config).to(device), PackedFacts(recipe.hidden_size).to(device)
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=0.1)  # words stay recognisable through the layers
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *facts.parameters()],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        betas=(0.9, 0.98),
    )
    log(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters")
    scenes = sample_wide_scenes(recipe.scenes, seed=recipe.seed + 1, held_out=False)
    started = time.monotonic()
    saved = SavedState(out.with_name(out.name + ".state.pt"), model=model, facts=facts, optimizer=optimizer)
    first = saved.load(device, log)
    for step in range(first, recipe.steps):
        rng = np.random.default_rng([recipe.seed, step])
        set_rate(optimizer, recipe, step, floor=0.02)
        batch = [scenes[i] for i in rng.integers(len(scenes), size=recipe.batch_size)]
        contexts = rng.choice(len(CONTEXT_WEIGHTS), recipe.batch_size, p=CONTEXT_WEIGHTS)
        ids, labels = caption_batch(tokenizer, batch, contexts, rng)
        with torch.autocast(device.type, torch.bfloat16):
            loss = _loss(model, facts, ids, labels, batch, rng)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done = step + 1
        if done % 50 == 0:
            quality = caption_losses(model, tokenizer, facts) if done % SAVED_EVERY == 0 else ""
            rest = (time.monotonic() - started) / (done - first) * (recipe.steps - done)
            log(f"step {done}/{recipe.steps} {rest:.0f} s left, loss {loss.item():.4f} {quality}")
        if done % SAVED_EVERY == 0:
            saved.save(done)
    losses = caption_losses(model, tokenizer, facts, count=1000)
    write_language_model(out, model, tokenizer)
    saved.remove()
    return {
        "license": "Apache-2.0",
        "data": "the wide world's text, made by the script; no picture and no encoder's embedding",
        "recipe": asdict(recipe),
        "device": device.type,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "held_out_nats_a_token": losses,
    }
