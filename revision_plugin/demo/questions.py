"""Questions about a scene and their true answers, of six kinds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .world import COLORS, NUMBERS, QUADRANTS, Scene, object_names, with_article

KINDS = ("existence", "position", "content", "color", "count", "relation")
DESCRIBE = "describe the image."


@dataclass(frozen=True)
class Question:
    kind: str
    text: str
    answer: str


def _existence(scene: Scene, rng: np.random.Generator) -> Question:
    names = object_names()
    present = [o for o, _ in scene.objects]
    if rng.random() < 0.5:
        return Question("existence", f"is there {with_article(names[rng.choice(present)])}?", "yes")
    absent = [o for o in range(len(names)) if o not in present]
    return Question("existence", f"is there {with_article(names[rng.choice(absent)])}?", "no")


def _position(scene: Scene, rng: np.random.Generator) -> Question:
    index, quadrant = scene.objects[rng.integers(len(scene.objects))]
    return Question("position", f"where is the {object_names()[index]}?", QUADRANTS[quadrant])


def _content(scene: Scene, rng: np.random.Generator) -> Question:
    index, quadrant = scene.objects[rng.integers(len(scene.objects))]
    return Question("content", f"which object is at the {QUADRANTS[quadrant]}?", object_names()[index])


def _color(scene: Scene, rng: np.random.Generator) -> Question:
    return Question("color", "what color is the background?", COLORS[scene.background])


def _count(scene: Scene, rng: np.random.Generator) -> Question:
    return Question("count", "how many objects are there?", NUMBERS[len(scene.objects) - 1])


def _relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    if len(scene.objects) < 2:
        return None
    first, second = rng.choice(len(scene.objects), 2, replace=False)
    (a, qa), (b, qb) = scene.objects[first], scene.objects[second]
    axes = [axis for axis in ("row", "column") if (qa // 2 != qb // 2 if axis == "row" else qa % 2 != qb % 2)]
    axis = axes[rng.integers(len(axes))]
    names = object_names()
    if axis == "row":
        phrase, true = ("above", qa // 2 < qb // 2) if rng.random() < 0.5 else ("below", qa // 2 > qb // 2)
    else:
        phrase, true = ("left of", qa % 2 < qb % 2) if rng.random() < 0.5 else ("right of", qa % 2 > qb % 2)
    return Question("relation", f"is the {names[a]} {phrase} the {names[b]}?", "yes" if true else "no")


_MAKERS = dict(zip(KINDS, (_existence, _position, _content, _color, _count, _relation)))


def ask(scene: Scene, kind: str, rng: np.random.Generator) -> Question | None:
    """A question of `kind` about `scene`, or None where the scene admits none (a relation needs two objects)."""
    return _MAKERS[kind](scene, rng)


def questions(scenes: list[Scene], *, seed: int, kinds: tuple[str, ...] = KINDS) -> list[tuple[int, Question]]:
    """One question of every kind a scene admits, as (scene index, question)."""
    made = []
    for index, scene in enumerate(scenes):
        rng = np.random.default_rng([seed, index])
        for kind in kinds:
            question = ask(scene, kind, rng)
            if question is not None:
                made.append((index, question))
    return made
