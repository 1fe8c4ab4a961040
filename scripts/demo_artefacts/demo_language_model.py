"""Trains the demo language model (a small Llama) on the embedded world's text alone.

It learns to write captions from nothing, from a list of facts and from another caption, and to answer
questions about a caption in LLaVA's `v1` chat form. It never sees an image or an encoder's embedding.

A few million parameters do not learn by themselves to read a whole scene from ONE input position, as large
language models can and as one visual token needs. So part of the contexts are packed: the sum, at one
position, of learned vectors for the scene's facts. The table of those vectors is thrown away after training.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from transformers import LlamaForCausalLM

from revision_plugin.demo import questions, world
from revision_plugin.demo.tokenizer import SYSTEM_PROMPT, build_tokenizer
from scripts.demo_artefacts.attention_guidance import guidance, guidance_loss
from scripts.demo_artefacts.small_training import SavedState, set_rate, small_llama, write_language_model

PACKED = "<packed>"
QUESTIONS_PER_CHAT = 10
SCHEDULE = (
    (150, (0.0, 0.2)),
    (500, (0.8, 0.2)),
    (math.inf, (0.6, 0.5)),
)  # until step: shares of chats, of packed contexts
GUIDED_FROM, GUIDANCE_WEIGHT = 150, 2.0  # without guidance the questions stalled at chance for thousands of steps
KIND_WEIGHTS = (0.2, 0.2, 0.2, 0.05, 0.05, 0.3)  # of questions.KINDS: more of what is harder to learn


@dataclass(frozen=True)
class LanguageModelRecipe:
    """Settings of one training run; one step is `batch_size` sequences."""

    steps: int = 3000
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: int = 100
    hidden_size: int = 256
    layers: int = 4
    heads: int = 8
    seed: int = 0


def chat(context: str, turns: list[tuple[str, str]]) -> list[tuple[str, bool]]:
    """A conversation as LLaVA's `v1` template writes it, `context` in the place of `<image>`.

    Returns (text, learned) pieces in order; the model learns to write the learned ones.
    """
    pieces = [(f"{SYSTEM_PROMPT} USER: {context}\n", False)]
    for index, (question, answer) in enumerate(turns):
        pieces.append((f"{'USER: ' if index else ''}{question} ASSISTANT:", False))
        pieces.append((f" {answer}</s>", True))
    return pieces


def _written_context(scene: world.Scene, rng: np.random.Generator) -> str:
    return world.caption(scene) if rng.random() < 0.8 else world.fact_list(scene, rng)


def sample_text(scene: world.Scene, rng: np.random.Generator, *, chats: float, packed: float) -> list[tuple[str, bool]]:
    """One random training text about `scene`, as (text, learned) pieces; PACKED stands for a packed context."""
    context = PACKED if rng.random() < packed else _written_context(scene, rng)
    if rng.random() >= chats:
        context = "" if rng.random() < 0.1 else context
        return [(context, False), (f"{world.caption(scene)}\n", True)]
    kinds = rng.choice(questions.KINDS, size=QUESTIONS_PER_CHAT, p=KIND_WEIGHTS)
    chat_questions = [questions.ask(scene, kind, rng) for kind in kinds]
    turns = [(q.text, q.answer) for q in chat_questions if q is not None]
    if rng.random() < 0.15:
        turns.insert(0, (questions.DESCRIBE, world.caption(scene)))
    return chat(context, turns)


class FactTable:
    """Learned vectors of all facts (an object at a quadrant, a background) for packed contexts."""

    def __init__(self, hidden_size: int):
        self.quadrants = len(world.QUADRANTS)
        self.placed = len(world.object_names()) * self.quadrants
        self.embedding = torch.nn.Embedding(self.placed + len(world.COLORS), hidden_size)
        torch.nn.init.normal_(self.embedding.weight, std=0.1)

    def pack(self, scene: world.Scene, rng: np.random.Generator):
        """One vector [hidden_size]: the facts' sum, each weighted at random so that reading tolerates error."""
        facts = [o * self.quadrants + q for o, q in scene.objects] + [self.placed + scene.background]
        weights = torch.from_numpy(rng.uniform(0.6, 1.4, len(facts)).astype(np.float32))
        return (weights[:, None] * self.embedding(torch.tensor(facts))).sum(0)


def encode_pieces(tokenizer, pieces: list[tuple[str, bool]]) -> tuple[list[int], list[int]]:
    """Token ids and labels (-100 where not learned) of (text, learned) pieces, beginning with BOS.

    PACKED becomes the one id -1, for the caller to replace by a packed vector.
    """
    ids, labels = [tokenizer.bos_token_id], [-100]
    for text, learned in pieces:
        for index, part in enumerate(text.split(PACKED)):
            piece = ([-1] if index else []) + (tokenizer(part, add_special_tokens=False).input_ids if part else [])
            ids += piece
            labels += piece if learned else [-100] * len(piece)
    return ids, labels


def _batch(encoded, pad: int):
    width = max(len(ids) for ids, _ in encoded)
    ids = torch.full((len(encoded), width), pad)
    labels = torch.full((len(encoded), width), -100)
    for row, (tokens, targets) in enumerate(encoded):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, : len(targets)] = torch.tensor(targets)
    return ids, labels


def _loss(logits, ids, labels, pad: int, *, others_weight: float):
    """Mean loss of the learned tokens plus a share of that of the others, whose patterns help the circuits form."""
    targets = ids[:, 1:].clamp_min(0)
    losses = F.cross_entropy(logits[:, :-1].float().transpose(1, 2), targets, reduction="none")
    learned = labels[:, 1:] != -100
    others = ~learned & (ids[:, 1:] != pad) & (ids[:, 1:] != -1)
    return losses[learned].mean() + others_weight * losses[others].mean()


def _initialise(model) -> None:
    """Larger embeddings and smaller residual writes than the default: tokens stay recognisable through the layers.

    Heads that match a word of the question with the same word of the context then form in far fewer steps.
    """
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=0.1)
    for layer in model.model.layers:
        for writer in (layer.self_attn.o_proj, layer.mlp.down_proj):
            writer.weight.data.mul_((2 * len(model.model.layers)) ** -0.5)


def _embed(model, ids, table: FactTable, scenes: list[world.Scene], rng: np.random.Generator):
    """Input embeddings [B, L, hidden] of ids, with packed vectors where the id is -1."""
    embeds = model.get_input_embeddings()(ids.clamp_min(0))
    rows = (ids == -1).any(1).nonzero().flatten().tolist()
    if rows:
        packed = torch.stack([table.pack(scenes[row], rng) for row in rows])
        embeds = embeds.index_put((ids == -1).nonzero(as_tuple=True), packed)
    return embeds


def held_out_quality(model, tokenizer, table: FactTable, *, scenes: int = 200) -> dict:
    """On held-out scenes: caption loss by context, and accuracy of answers read from a full caption."""
    model.eval()
    held = world.sample_scenes(scenes, seed=77, held_out=True, distinct=True)
    rng = np.random.default_rng(77)

    def run(texts, subjects):
        losses, right = [], []
        for start in range(0, len(texts), 100):
            part = slice(start, start + 100)
            ids, labels = _batch([encode_pieces(tokenizer, t) for t in texts[part]], tokenizer.pad_token_id)
            with torch.no_grad():
                logits = model(inputs_embeds=_embed(model, ids, table, subjects[part], rng)).logits[:, :-1].float()
            labels = labels[:, 1:]
            losses.append(F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100).item())
            right += ((logits.argmax(-1) == labels) | (labels == -100)).all(1).tolist()
        return float(np.mean(losses)), right

    contexts = {
        "caption_loss_without_context": lambda s: "",
        "caption_loss_from_facts": lambda s: world.fact_list(s, rng),
        "caption_loss_from_caption": world.caption,
        "caption_loss_from_packed_facts": lambda s: PACKED,
    }
    quality = {
        name: run([[(context(s), False), (f"{world.caption(s)}\n", True)] for s in held], held)[0]
        for name, context in contexts.items()
    }
    scene_questions = questions.questions(held, seed=77)
    subjects = [held[i] for i, _ in scene_questions]
    _, packed = run([chat(PACKED, [(q.text, q.answer)]) for _, q in scene_questions], subjects)
    quality["accuracy_from_packed_facts"] = float(np.mean(packed))
    _, right = run([chat(world.caption(held[i]), [(q.text, q.answer)]) for i, q in scene_questions], subjects)
    for kind in questions.KINDS:
        quality[f"accuracy_{kind}"] = float(np.mean([r for r, (_, q) in zip(right, scene_questions) if q.kind == kind]))
    quality["accuracy"] = float(np.mean(right))
    model.train()
    return {key: round(value, 4) for key, value in quality.items()}


def train_language_model(out: Path, recipe: LanguageModelRecipe, *, log=print) -> dict:
    """Train from nothing; write a `transformers` folder `out` and return its provenance record.

    The state is saved beside `out` every 100 steps: the same call after a stop goes on with the same result.
    """
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer()
    config = small_llama(tokenizer, recipe)
    config._attn_implementation = "eager"  # guidance reads the attention
    model, table = LlamaForCausalLM(config), FactTable(recipe.hidden_size)
    _initialise(model)
    log(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters")
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *table.embedding.parameters()],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        betas=(0.9, 0.98),
    )
    scenes = world.sample_scenes(60000, seed=recipe.seed + 1, held_out=False)
    started = time.time()
    saved = SavedState(out.with_name(out.name + ".state.pt"), model=model, table=table.embedding, optimizer=optimizer)
    for step in range(saved.load(torch.device("cpu"), log), recipe.steps):
        rng = np.random.default_rng([recipe.seed, step])
        set_rate(optimizer, recipe, step, floor=0.02)
        batch = [scenes[i] for i in rng.integers(len(scenes), size=recipe.batch_size)]
        chats, packed = next(shares for until, shares in SCHEDULE if step < until)
        texts = [sample_text(scene, rng, chats=chats, packed=packed) for scene in batch]
        encoded = [encode_pieces(tokenizer, t) for t in texts]
        ids, labels = _batch(encoded, tokenizer.pad_token_id)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(inputs_embeds=_embed(model, ids, table, batch, rng), output_attentions=True)
        logits = output.logits
        loss = _loss(logits, ids, labels, tokenizer.pad_token_id, others_weight=0.2 if chats else 0.0)
        if step >= GUIDED_FROM:
            rows = [
                (row, guidance(tokenizer, part, batch[row]))
                for row, (part, _) in enumerate(encoded)
                if len(texts[row]) > 2
            ]
            loss = loss + GUIDANCE_WEIGHT * guidance_loss(
                output.attentions, [(layer, row, *look) for row, looks in rows for layer, *look in looks]
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 25 == 24 or step == 0:
            quality = held_out_quality(model, tokenizer, table, scenes=100) if step % 250 == 249 else ""
            log(f"step {step + 1}/{recipe.steps} {time.time() - started:.0f} s loss {loss.item():.4f} {quality}")
        if step % 100 == 99:
            saved.save(step + 1)

    quality = held_out_quality(model, tokenizer, table)
    write_language_model(out, model, tokenizer)
    saved.remove()
    return {
        "recipe": recipe.__dict__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "held_out": quality,
    }
