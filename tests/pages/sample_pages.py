"""A page of the quickstart from a run that was never run: its scenes are real, its numbers are made up."""

import numpy as np

from revision_plugin.demo import world
from revision_plugin.demo.measures import accuracy
from revision_plugin.demo.questions import questions
from revision_plugin.demo.quickstart_page import Answers, quickstart_page
from revision_plugin.demo.recipe import HELD_OUT_SEED, STAGE2_LABELS, Recipe

SCENES = 24
SKILL = {"realign": 0.7, "views": 0.9, "without": 0.3}  # how often a checkpoint is right


def sample_quickstart():
    """The page, its answers, and the captions of its scenes."""
    rng = np.random.default_rng(0)
    scenes = world.sample_scenes(SCENES, seed=HELD_OUT_SEED, held_out=True, distinct=True)
    pictures = world.render_all(scenes, seed=HELD_OUT_SEED)
    captions = [world.caption(scene) for scene in scenes]
    asked = questions(scenes, seed=HELD_OUT_SEED)
    replies = {
        name: [(q.answer, 1.0) if rng.random() < SKILL[name] else ("I cannot tell", 0.0) for _, q in asked]
        for name in STAGE2_LABELS
    }
    cost = {"mean": 1.0, "error": 0.1}
    recall = {"object": 0.5, "placed_object": 0.25, "color": 0.9}
    stage1 = {"image": cost, "text": cost, "shuffled": cost, "recall": recall, "recall_shuffled": recall}
    results = {
        "recipe": vars(Recipe(held_out=SCENES)),
        "seed": 0,
        "language_model": "demo",
        "stage1": {name: stage1 for name in ("none", "realign", "paired")},
        "geometry": {
            name: {"centroid_gap": gap, "trace": 0.9, "paired_cosine": 0.8}
            for name, gap in {"images": 0.0, "none": 0.4123, "realign": 0.0345}.items()
        },
        "stage2": {name: accuracy([score for _, score in replies[name]], asked) for name in STAGE2_LABELS},
        "seconds": {"trainings": 12.3},
    }
    images = rng.normal(size=(SCENES, 8))
    clouds = {"images": images, "none": images + 4, "realign": images + 0.1}
    losses = {name: [(step, 2 / step) for step in range(1, 10)] for name in results["stage1"]}
    examples = [{"truth": captions[0], "realign": captions[0], "none": captions[1]}]
    answers = Answers(asked, replies)
    return quickstart_page(results, clouds, losses, answers, scenes, pictures, examples), answers, captions
