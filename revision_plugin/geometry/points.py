"""The sampled rows that a page shows one by one: their captions and small pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .._common.progress import track
from ..corpora.inputs import Corpus
from ..embeddings.store import Store
from ..pages import Card, shortened, thumbnail
from .measured import SOURCE, TARGET, Geometry

logger = logging.getLogger(__name__)
POINTS = 400  # of a cloud: a page of several thousand is slow on a phone
SIDE = 72  # pixels of a picture under the pointer
MOST_LETTERS = 240  # of a caption under the pointer


@dataclass
class Points:
    """Which rows of a cloud's sample are shown, and the card of each; without cards only where they lie is known."""

    chosen: dict[str, np.ndarray] = field(default_factory=dict)  # SOURCE or TARGET -> rows of its sample [n]
    cards: dict[str, list[Card]] = field(default_factory=dict)
    pictures: str = "The stores do not say where their images lie; with --images the page shows them."

    def of(self, cloud: str, count: int) -> np.ndarray:
        """The rows shown [n] of a cloud whose sample has `count`: those of the source for what aligners make of it."""
        kind = TARGET if cloud == TARGET else SOURCE
        return self.chosen.get(kind, spread(count))

    def cards_of(self, cloud: str) -> list[Card]:
        return self.cards.get(TARGET if cloud == TARGET else SOURCE, [])


def spread(count: int) -> np.ndarray:
    """At most POINTS of `count` rows, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).astype(int))


def look_up(geometry: Geometry, source: Store, target: Store, images: Corpus | None) -> Points:
    """The captions of the sampled texts, from their store, and the pictures of the sampled images, from the corpus
    `images` that the target was encoded from; of pairs each card has both.

    A picture that is not found in the corpus is left out, and the page says how many there are. Raises RevisionError
    where the corpus cannot be read, or a picture of it does not decode.
    """
    chosen = {kind: spread(len(positions)) for kind, positions in geometry.positions.items()}
    texts = [source.row(int(row)) for row in geometry.positions[SOURCE][chosen[SOURCE]]]
    ids = [target.row(int(row))["id"] for row in geometry.positions[TARGET][chosen[TARGET]]]
    found = {} if images is None else _pictures(images, set(ids))
    paired = geometry.settings["pairs"]
    captions = {row["id"]: _short(row["text"]) for row in texts} if paired else {}
    cards = {
        SOURCE: [_card(_short(row["text"]), row["id"], found if paired else {}) for row in texts],
        TARGET: [_card(captions.get(name, "an image"), name, found) for name in ids],
    }
    points = Points(chosen, cards)
    if images is not None:
        points.pictures = f"{len(found)} of the {len(set(ids))} images shown have their picture."
        if len(found) < len(set(ids)):
            logger.warning("%s: %s", images.where, points.pictures)
    return points


def _card(title: str, identity: str, pictures: dict[str, str]) -> Card:
    return Card(title, [("id", _short(identity))], picture=pictures.get(identity))


def _short(text: str) -> str:
    return shortened(text, MOST_LETTERS)


def _pictures(images: Corpus, wanted: set[str]) -> dict[str, str]:
    """By id the small pictures of those wanted; reads no further than the last of them."""
    found: dict[str, str] = {}
    with track("pictures for the page", total=len(wanted), unit="image", delay=2.0) as advance:
        for item in _items(images.parts, images):
            if item.id in wanted and item.id not in found:
                found[item.id] = thumbnail(item.open(), SIDE)
                advance(1)
                if len(found) == len(wanted):
                    break
    return found


def _items(parts: Sequence[str], images: Corpus):
    for part in parts:
        yield from images.read(part)
