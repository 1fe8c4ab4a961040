"""A splitter of one's own: captions of the embedded world in as many parts as its pictures have quadrants.

A picture's empty quadrants are parts, too, but no clause speaks of them. `python:scripts.views.world_clauses:quadrants`
names the background for each, among the clauses, where the caption alone decides.
"""

from __future__ import annotations

import random

from revision_plugin.demo.world import QUADRANTS

JOINT, GROUND = " and ", " on a "


def quadrants(text: str) -> list[str]:
    """The clauses of a caption in their order, and between them `a COLOUR background` for every empty quadrant."""
    things, _, ground = text.rpartition(GROUND)
    clauses = things.split(JOINT)
    parts = [f"a {ground}"] * len(QUADRANTS)
    places = sorted(random.Random(text).sample(range(len(QUADRANTS)), len(clauses)))
    for place, clause in zip(places, clauses):
        parts[place] = clause
    return parts
