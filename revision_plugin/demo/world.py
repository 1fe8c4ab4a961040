"""The embedded world: scenes of one to three emoji in quadrants on a coloured background.

A scene is symbolic, so its caption, questions and picture all follow from it exactly. Scenes are split
into a training and a held-out part by a hash of their content: no caption and no picture of a held-out
scene can appear in training, whatever the seed.
"""

from __future__ import annotations

import functools
import itertools
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ASSETS = Path(__file__).parent / "assets"
QUADRANTS = ("top-left", "top-right", "bottom-left", "bottom-right")
BACKGROUNDS = {
    "red": (200, 60, 60),
    "green": (70, 160, 80),
    "blue": (70, 100, 200),
    "yellow": (225, 205, 80),
    "purple": (140, 80, 170),
    "gray": (140, 140, 140),
}
COLORS = tuple(BACKGROUNDS)
NUMBERS = ("one", "two", "three")
OBJECT_COUNT_WEIGHTS = (0.2, 0.5, 0.3)
HELD_OUT_ONE_IN = 10
IMAGE_SIZE = 64
SPRITE_SIZES = (20, 22, 24, 26)


@dataclass(frozen=True, order=True)
class Scene:
    """Objects as (object index, quadrant index), sorted by quadrant, and the background's index."""

    objects: tuple[tuple[int, int], ...]
    background: int

    @property
    def held_out(self) -> bool:
        return zlib.crc32(repr((self.objects, self.background)).encode()) % HELD_OUT_ONE_IN == 0


@functools.cache
def object_names() -> tuple[str, ...]:
    """The objects' names, in the order of the art sheet."""
    return tuple(entry["name"] for entry in json.loads((ASSETS / "art" / "art.json").read_text())["objects"])


def sample_scenes(count: int, *, seed: int, held_out: bool, distinct: bool = False) -> list[Scene]:
    """`count` scenes of one split in a random order that `seed` fixes.

    Raises ValueError where `distinct` asks for more scenes than the split holds.
    """
    rng = np.random.default_rng([seed, int(held_out)])
    scenes: list[Scene] = []
    seen: set[Scene] = set()
    attempts_left = 200 * HELD_OUT_ONE_IN * max(count, 100)
    while len(scenes) < count:
        attempts_left -= 1
        if attempts_left < 0:
            raise ValueError(f"the world holds fewer than {count} distinct scenes (held_out={held_out})")
        number = 1 + rng.choice(len(OBJECT_COUNT_WEIGHTS), p=OBJECT_COUNT_WEIGHTS)
        objects = rng.choice(len(object_names()), number, replace=False).tolist()
        quadrants = rng.choice(len(QUADRANTS), number, replace=False).tolist()
        placed = tuple(sorted(zip(objects, quadrants), key=lambda pair: pair[1]))
        scene = Scene(placed, int(rng.integers(len(COLORS))))
        if scene.held_out == held_out and not (distinct and scene in seen):
            seen.add(scene)
            scenes.append(scene)
    return scenes


def rearrangements(scene: Scene, rng: np.random.Generator, *, most: int) -> list[Scene]:
    """The scene and others of its split with the same objects and background in other places, `most` at most."""
    objects = [index for index, _ in scene.objects]
    others = []
    for places in itertools.permutations(range(len(QUADRANTS)), len(objects)):
        placed = tuple(sorted(zip(objects, places), key=lambda pair: pair[1]))
        other = Scene(placed, scene.background)
        if other != scene and other.held_out == scene.held_out:
            others.append(other)
    chosen = rng.permutation(len(others))[: most - 1]
    return [scene, *(others[i] for i in chosen)]


def with_article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def caption(scene: Scene) -> str:
    """The full caption: every object with its place, then the background. One scene, one caption."""
    names = object_names()
    things = " and ".join(f"{with_article(names[o])} {QUADRANTS[q]}" for o, q in scene.objects)
    return f"{things} on a {COLORS[scene.background]} background"


def partial_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption as on the web: in any order, sometimes without an object, a place or the background."""
    names = object_names()
    objects = list(scene.objects)
    rng.shuffle(objects)
    if len(objects) > 1 and rng.random() < 0.15:
        objects = objects[: int(rng.integers(1, len(objects)))]
    things = " and ".join(
        f"{with_article(names[o])} {QUADRANTS[q]}" if rng.random() < 0.95 else with_article(names[o])
        for o, q in objects
    )
    return f"{things} on a {COLORS[scene.background]} background" if rng.random() < 0.75 else things


def fact_list(scene: Scene, rng: np.random.Generator) -> str:
    """The scene's facts as bare words in a random order: `red dog top-left cat bottom-right`."""
    names = object_names()
    facts = [f"{names[o]} {QUADRANTS[q]}" for o, q in scene.objects] + [COLORS[scene.background]]
    rng.shuffle(facts)
    return " ".join(facts)


@functools.cache
def _sprites() -> tuple[tuple[np.ndarray, ...], ...]:
    """Each object's art at every size, float32 [s, s, 4] in [0, 1]."""
    meta = json.loads((ASSETS / "art" / "art.json").read_text())
    cell, columns = meta["cell"], meta["columns"]
    with Image.open(ASSETS / "art" / "art.png") as opened:
        sheet = opened.convert("RGBA")
    sprites = []
    for index in range(len(meta["objects"])):
        left, top = (index % columns) * cell, (index // columns) * cell
        tile = sheet.crop((left, top, left + cell, top + cell))
        sprites.append(
            tuple(np.asarray(tile.resize((s, s), Image.Resampling.LANCZOS), np.float32) / 255 for s in SPRITE_SIZES)
        )
    return tuple(sprites)


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A picture of the scene, uint8 [64, 64, 3]: size, place, mirror, brightness and noise vary with `rng`."""
    half = IMAGE_SIZE // 2
    base = np.array(BACKGROUNDS[COLORS[scene.background]], np.float32) / 255 + rng.normal(0, 0.06, 3)
    image = np.empty((IMAGE_SIZE, IMAGE_SIZE, 3), np.float32)
    image[:] = base
    image += (np.linspace(-1, 1, IMAGE_SIZE, dtype=np.float32) * rng.uniform(-0.1, 0.1))[:, None, None]
    for index, quadrant in scene.objects:
        sprite = _sprites()[index][rng.integers(len(SPRITE_SIZES))]
        if rng.random() < 0.5:
            sprite = sprite[:, ::-1]
        side = len(sprite)
        top = (quadrant // 2) * half + int(rng.integers(0, half - side + 1))
        left = (quadrant % 2) * half + int(rng.integers(0, half - side + 1))
        alpha, color = sprite[..., 3:], np.clip(sprite[..., :3] * rng.uniform(0.8, 1.15), 0, 1)
        patch = image[top : top + side, left : left + side]
        image[top : top + side, left : left + side] = patch * (1 - alpha) + color * alpha
    image += rng.normal(0, 0.03, image.shape)
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def render_all(scenes: list[Scene], *, seed: int) -> np.ndarray:
    """Pictures of all scenes, uint8 [N, 64, 64, 3]; picture i depends on `seed` and i alone."""
    return np.stack([render(scene, np.random.default_rng([seed, i])) for i, scene in enumerate(scenes)])
