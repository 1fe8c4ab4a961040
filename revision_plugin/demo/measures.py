"""Measures a checkpoint on held-out scenes of the embedded world."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import torch
from PIL import Image

from ..evaluation.replies import short_answer
from . import world
from .questions import KINDS, Question

BATCH = 64


def image_inputs(assistant, pictures) -> torch.Tensor:
    """Preprocessed pixels [N, 3, H, W] of RGB pictures uint8 [N, H, W, 3]."""
    return assistant.image_processor.preprocess([Image.fromarray(p) for p in pictures])["pixel_values"]


def caption_likelihood(assistant, inputs, captions: list[str]) -> np.ndarray:
    """Negative log-likelihood per token [N] of each caption given pixels [N, 3, H, W] or embeddings [N, D]."""
    parts = [slice(start, start + BATCH) for start in range(0, len(captions), BATCH)]
    return np.concatenate([assistant.likelihood(inputs[part], captions[part]) for part in parts])


def caption_images(assistant, pictures) -> list[str]:
    """Greedy captions of a pretrained-only checkpoint."""
    return _ask(assistant, pictures, [None] * len(pictures), max_new_tokens=40)


def right_answers(assistant, pictures, asked: list[tuple[int, Question]]) -> list[int]:
    """1 or 0 for each (picture's index, question), whether the greedy answer is right; for None as `pictures` questions
    are asked without an image.
    """
    texts = [question.text for _, question in asked]
    shown = None if pictures is None else [pictures[index] for index, _ in asked]
    replies = _ask(assistant, shown, texts, max_new_tokens=6)
    return [int(short_answer(reply, question.answer)) for reply, (_, question) in zip(replies, asked)]


def _ask(assistant, pictures, texts, *, max_new_tokens: int) -> list[str]:
    answers = []
    for start in range(0, len(texts), BATCH):
        images = None if pictures is None else [Image.fromarray(p) for p in pictures[start : start + BATCH]]
        answers += assistant.ask(images, texts[start : start + BATCH], max_new_tokens=max_new_tokens)
    return answers


def recall(captions: list[str], scenes: list[world.Scene]) -> dict[str, float]:
    """Shares of the true objects, placed objects and background colours that the captions name."""
    names = world.object_names()
    objects, placed, colors = [], [], []
    for caption, scene in zip(captions, scenes):
        words = caption.replace(" and ", " , ").split()
        for index, quadrant in scene.objects:
            objects.append(names[index] in words)
            placed.append(f"{names[index]} {world.QUADRANTS[quadrant]}" in caption)
        colors.append(f"{world.COLORS[scene.background]} background" in caption)
    return {"object": float(np.mean(objects)), "placed_object": float(np.mean(placed)), "color": float(np.mean(colors))}


def rotate(items: list) -> list:
    """Every item one place on: the shuffled control, in which captions meet other scenes."""
    return items[1:] + items[:1]


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion."""
    if total == 0:
        return 0.0, 1.0
    share, spread = right / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return middle - half, middle + half


def accuracy(scores: list[float], questions: list[tuple[int, Question]]) -> dict[str, dict]:
    """Per question kind and over `all`: accuracy with its interval, and `chance`, always giving the commonest
    answer.
    """
    table = {}
    for kind in (*KINDS, "all"):
        rows = [(score, q) for score, (_, q) in zip(scores, questions) if kind in (q.kind, "all")]
        right = int(sum(score for score, _ in rows))
        low, high = wilson(right, len(rows))
        table[kind] = {"accuracy": right / len(rows), "low": low, "high": high, "questions": len(rows)}
        if kind != "all":
            table[kind]["chance"] = Counter(q.answer for _, q in rows).most_common(1)[0][1] / len(rows)
    table["all"]["chance"] = sum(table[k]["chance"] * table[k]["questions"] for k in KINDS) / table["all"]["questions"]
    return table
