"""Scenes of the wide world: one to three kinds of things in quadrants, each in a number and a size, on a background.

As in the embedded world a scene is symbolic, and a hash of its content says whether it is held out.
"""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass, replace

import numpy as np

from revision_plugin.demo import world
from scripts.wide_world.things import lookalikes, things, things_of

PLACES = 4  # quadrants, from the top left row by row
BACKGROUNDS = {
    **world.BACKGROUNDS,
    "white": (240, 240, 235),
    "black": (30, 30, 35),
    "orange": (235, 140, 50),
    "pink": (240, 170, 190),
}
COLORS = tuple(BACKGROUNDS)
SIZES = ("small", "plain", "big")
PARTS_WEIGHTS = (0.25, 0.5, 0.25)  # of one, two and three kinds of things in a scene
NUMBER_WEIGHTS = (0.7, 0.2, 0.1)  # of one, two and three of a kind
SIZE_WEIGHTS = (0.2, 0.6, 0.2)
COMMON = 1.0  # exponent of how common things are, by rank, as of words (Zipf)
CONTENT_GROUPS = ("animals-nature", "food-drink")  # of a corpus that shows part of the world


@dataclass(frozen=True, order=True)
class Part:
    """`number` things of one kind, at one place."""

    place: int
    thing: int
    number: int = 1
    size: int = 1  # of SIZES; several things of a kind have the plain one


@dataclass(frozen=True, order=True)
class WideScene:
    parts: tuple[Part, ...]  # by place
    background: int

    @property
    def held_out(self) -> bool:
        facts = [(p.place, p.thing, p.number, p.size) for p in sorted(self.parts)]
        return zlib.crc32(repr((facts, self.background)).encode()) % world.HELD_OUT_ONE_IN == 0


@functools.cache
def _commonness(groups: tuple[str, ...] | None) -> tuple[np.ndarray, np.ndarray]:
    """The things of `groups`, and the share of each; a thing's rank is its place in one fixed random order."""
    ranks = np.empty(len(things()))
    ranks[np.random.default_rng(0).permutation(len(things()))] = np.arange(len(things()))
    chosen = np.array(things_of(groups))
    weights = (ranks[chosen] + 10.0) ** -COMMON
    return chosen, weights / weights.sum()


def sample_wide_scenes(
    count: int, *, seed: int, held_out: bool, groups: tuple[str, ...] | None = None
) -> list[WideScene]:
    """`count` scenes of one split, that `seed` fixes; with `groups` they show things of these groups alone."""
    rng = np.random.default_rng([seed, int(held_out)])
    chosen, weights = _commonness(groups)
    scenes: list[WideScene] = []
    while len(scenes) < count:
        number = 1 + rng.choice(len(PARTS_WEIGHTS), p=PARTS_WEIGHTS)
        places = rng.choice(PLACES, number, replace=False)
        kinds = rng.choice(chosen, number, replace=False, p=weights)
        parts = []
        for place, kind in zip(places, kinds):
            many = 1 + rng.choice(len(NUMBER_WEIGHTS), p=NUMBER_WEIGHTS)
            size = rng.choice(len(SIZES), p=SIZE_WEIGHTS) if many == 1 else 1
            parts.append(Part(int(place), int(kind), int(many), int(size)))
        scene = WideScene(tuple(sorted(parts)), int(rng.integers(len(COLORS))))
        if scene.held_out == held_out:
            scenes.append(scene)
    return scenes


def altered(scene: WideScene, fact: str, rng: np.random.Generator) -> WideScene:
    """A scene that differs in one fact: a `thing` by one of its kind, a `place`, a `number`, a `size` or the
    `background`.

    Its parts stand where they stood, whatever their places now. What a caption says of it is false of `scene`, if it
    differs at all: a thing shares no name with those of the scene, and what is big gets small or the other way round.
    """
    if fact == "background":
        return replace(scene, background=_another(range(len(COLORS)), scene.background, rng))
    position = int(rng.integers(len(scene.parts)))
    part, parts = scene.parts[position], list(scene.parts)
    if fact == "thing":
        names = {name for each in scene.parts for name in things()[each.thing].names}
        others = [i for i in lookalikes(part.thing) if not names & set(things()[i].names)]
        others = others or [i for i in range(len(things())) if not names & set(things()[i].names)]
        parts[position] = replace(part, thing=int(rng.choice(others)))
    elif fact == "place":
        place = _another(range(PLACES), part.place, rng)
        parts = [replace(each, place=part.place) if each.place == place else each for each in parts]
        parts[position] = replace(part, place=place)
    elif fact == "number":
        parts[position] = replace(part, number=_another((1, 2, 3), part.number, rng), size=1)
    else:
        sizes = {0: (2,), 1: (0, 2), 2: (0,)}[part.size]
        parts[position] = replace(part, number=1, size=int(rng.choice(sizes)))
    return replace(scene, parts=tuple(parts))


def _another(values, present: int, rng: np.random.Generator) -> int:
    return int(rng.choice([value for value in values if value != present]))
