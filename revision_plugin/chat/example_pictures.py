"""Pictures of the embedded world with questions, to begin with."""

from __future__ import annotations

from pathlib import Path

from ..demo import world
from ..demo.corpus import write_images
from ..demo.questions import KINDS, questions
from ..demo.recipe import HELD_OUT_SEED


def write_examples(folder: Path) -> list[tuple[str, str]]:
    """Write pictures of held-out scenes into `folder`, one for each kind of question; (path, question) of each."""
    scenes = [
        scene
        for scene in world.sample_scenes(4 * len(KINDS), seed=HELD_OUT_SEED, held_out=True, distinct=True)
        if len(scene.objects) > 1  # a relation needs two
    ][: len(KINDS)]
    names = write_images(scenes, folder, seed=HELD_OUT_SEED)
    asked = questions(scenes, seed=HELD_OUT_SEED)
    of_kind = [next(q.text for at, q in asked if at == index and q.kind == kind) for index, kind in enumerate(KINDS)]
    return [(str(folder / name), text) for name, text in zip(names, of_kind, strict=True)]
