"""A benchmark of hard distractors: of four captions of a picture one is true, the others differ in one fact each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.wide_world.wide_captions import human_caption
from scripts.wide_world.wide_scenes import WideScene, altered

FACTS = ("thing", "place", "number", "size", "background")
DISTRACTORS = 3
PHRASINGS, ALTERATIONS = 12, 24  # tried at most


@dataclass(frozen=True)
class Choice:
    """Captions of the scene at position `scene`: the true one, then those in which another `fact` is said."""

    scene: int
    fact: str
    captions: tuple[str, ...]


def choices(scenes: list[WideScene], *, seed: int) -> list[Choice]:
    """A choice for every scene that can be asked about the fact whose turn it is; captions are in the same words.

    A scene of one thing has but two other sizes and numbers, so those are asked about scenes of several things.
    """
    asked = (_choice(scene, index, FACTS[index % len(FACTS)], seed) for index, scene in enumerate(scenes))
    return [choice for choice in asked if choice]


def _choice(scene: WideScene, index: int, fact: str, seed: int) -> Choice | None:
    for phrasing in range(PHRASINGS):
        words = [seed, index, phrasing]
        captions = [human_caption(scene, np.random.default_rng(words), comparing=False)]
        rng = np.random.default_rng([*words, 1])
        for _ in range(ALTERATIONS):
            said = human_caption(altered(scene, fact, rng), np.random.default_rng(words), comparing=False)
            if said not in captions:
                captions.append(said)
            if len(captions) > DISTRACTORS:
                return Choice(index, fact, tuple(captions))
    return None
