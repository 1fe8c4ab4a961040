"""Pictures of the wide world's scenes."""

from __future__ import annotations

import numpy as np

from scripts.wide_world.things import sprite
from scripts.wide_world.wide_scenes import BACKGROUNDS, COLORS, Part, WideScene

SIDE = 64
SPRITE_SIDES = {1: ((16, 17, 18), (22, 23, 24), (29, 30, 31)), 2: ((15, 16),), 3: ((14, 15),)}  # by number, then size
OFFSETS = {1: ((0, 0),), 2: ((0, 0), (1, 1)), 3: ((0, 0), (0, 1), (1, 0))}  # rows and columns of a quadrant's half


def draw_scene(scene: WideScene, rng: np.random.Generator) -> np.ndarray:
    """A picture uint8 [SIDE, SIDE, 3]: size, place, mirror, brightness and noise vary with `rng`."""
    image = np.empty((SIDE, SIDE, 3), np.float32)
    image[:] = np.array(BACKGROUNDS[COLORS[scene.background]], np.float32) / 255 + rng.normal(0, 0.04, 3)
    image += (np.linspace(-1, 1, SIDE, dtype=np.float32) * rng.uniform(-0.1, 0.1))[:, None, None]
    for part in scene.parts:
        _draw_part(image, part, rng)
    image += rng.normal(0, 0.03, image.shape)
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def _draw_part(image: np.ndarray, part: Part, rng: np.random.Generator) -> None:
    quadrant = SIDE // 2
    room = quadrant if part.number == 1 else quadrant // 2
    sides = SPRITE_SIDES[part.number][part.size if part.number == 1 else 0]
    for row, column in OFFSETS[part.number]:
        art = sprite(part.thing, int(rng.choice(sides)))
        if rng.random() < 0.5:
            art = art[:, ::-1]
        slack = room - len(art)
        top = part.place // 2 * quadrant + row * room + int(rng.integers(slack + 1))
        left = part.place % 2 * quadrant + column * room + int(rng.integers(slack + 1))
        opacity, color = art[..., 3:], np.clip(art[..., :3] * rng.uniform(0.85, 1.15), 0, 1)
        patch = image[top : top + len(art), left : left + len(art)]
        patch[:] = patch * (1 - opacity) + color * opacity


def draw_scenes(scenes: list[WideScene], *, seed: int) -> np.ndarray:
    """Pictures uint8 [N, SIDE, SIDE, 3] of all scenes; picture i depends on `seed` and i alone."""
    return np.stack([draw_scene(scene, np.random.default_rng([seed, i])) for i, scene in enumerate(scenes)])
