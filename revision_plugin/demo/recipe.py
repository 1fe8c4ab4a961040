"""The quickstart's sizes and training flags; everything else is LLaVA's own default."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import RevisionError

STAGE1_LABELS = {
    "none": "no alignment",
    "realign": "ReAlign",
    "paired": "paired images",
}
STAGE2_LABELS = {
    "realign": "ReAlign, one vector",
    "views": "ReAlign, views",
    "without": "without Stage 1",
}


@dataclass(frozen=True)
class Recipe:
    """Scenes and steps of one run. Learning rates are those a model of this size needs, not the papers'."""

    texts: int = 6000
    images: int = 2000
    held_out: int = 250
    stage1_steps: int = 600
    stage1_batch: int = 16
    stage1_rate: float = 1.5e-2
    stage2_images: int = 1000
    stage2_steps: int = 160
    stage2_batch: int = 8
    stage2_rate: float = 5e-4
    tokens: int = 1
    views: str = "2x2:mask"  # of an image, where Stage 2 sees more than the whole
    version: str = "v1"


ENCODER = "demo"
HELD_OUT_SEED = 900  # of the scenes that are measured on
LANGUAGE_MODELS = ("demo", "smollm2")
QUICK = Recipe()
FULL = replace(
    QUICK, texts=20000, images=5000, stage1_steps=4000, stage1_rate=1e-2, stage2_images=10000, stage2_steps=1500
)
SMOLLM2 = replace(
    QUICK,
    stage1_steps=200,
    stage1_batch=16,
    stage1_rate=3e-3,
    stage2_steps=100,
    stage2_batch=16,
    stage2_rate=1e-4,
    version="smollm2",
    held_out=100,
)


def choose(*, full: bool, small_llm: str) -> Recipe:
    """The recipe of a quickstart run. Raises RevisionError where there is none for both wishes."""
    if small_llm == "smollm2":
        if full:
            raise RevisionError("--full is a recipe for the demo language model; leave it out with --small-llm smollm2")
        return SMOLLM2
    return FULL if full else QUICK
