"""The dual encoder's own matches between unpaired texts and images, and what they tell of both corpora's content.

The encoder was trained to give a text and its image a large product, so of two unpaired corpora it knows which rows
speak of the same things. Where both are about the same things the matched texts are a random sample of all texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .covariances import dominant_directions

BLOCK = 2048  # rows of products in memory
DRAWS = 99  # random samples that the matched rows are compared with
ENERGY = 0.9  # of the corpus' variance, in the directions where means are compared


def around_mean(rows: np.ndarray) -> np.ndarray:
    """Unit-norm directions [n, d] of the rows from their mean. Products of raw rows would match by the gap, too: where
    it is large they prefer texts near the images' mean, whatever these say.
    """
    centred = rows - rows.mean(0)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True).clip(np.finfo(np.float32).eps)


def mutual_matches(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [k] of `source` [n, d] and of `target` [m, d] that are each other's match, unit-norm and not aligned: each
    has the largest cosine with the other once both modalities are centred. k is at least one.
    """
    texts, images = (around_mean(rows).astype(np.float32) for rows in (source, target))
    image_of_text = np.empty(len(texts), np.int64)
    best, text_of_image = np.full(len(images), -np.inf, np.float32), np.zeros(len(images), np.int64)
    for start in range(0, len(texts), BLOCK):
        products = texts[start : start + BLOCK] @ images.T
        image_of_text[start : start + BLOCK] = products.argmax(1)
        rows = products.argmax(0)
        values = products[rows, np.arange(len(images))]
        better = values > best
        best[better], text_of_image[better] = values[better], start + rows[better]
    matched = np.flatnonzero(agree(image_of_text, text_of_image))
    return matched, image_of_text[matched]


def agree(image_of_text: np.ndarray, text_of_image: np.ndarray) -> np.ndarray:
    """Of every text [n] whether the image [n] that it is matched with is matched [m] with it."""
    return text_of_image[image_of_text] == np.arange(len(image_of_text))


@dataclass(frozen=True)
class ContentShift:
    """How far the mean of the matched rows of one corpus is from that of all its rows, in standard deviations of the
    corpus: `expected` is the mean of 99 random samples of as many rows, `beaten` how many of these come less far.
    """

    distance: float
    expected: float
    beaten: int

    @property
    def differs(self) -> bool:
        """Whether no random sample comes as far: one chance in a hundred where the content is the same."""
        return self.beaten == DRAWS


def content_shift(rows: np.ndarray, matched: np.ndarray, *, seed: int) -> ContentShift:
    """Whether the rows `matched` [k] are a random sample of `rows` [n, d]: Hotelling's T (1931), the norm of the mean
    in the principal directions that hold 90 % of the variance, each in its standard deviation, against random samples.
    It stays within one modality, so no gap between modalities enters.
    """
    centred, rng = rows - rows.mean(0), np.random.default_rng(seed)
    vectors, rank = dominant_directions(centred.T @ centred / len(rows), ENERGY)
    scores = centred @ vectors[:, :rank]
    scores /= scores.std(0)

    def distance(chosen: np.ndarray) -> float:
        return float(np.linalg.norm(scores[chosen].mean(0)))

    drawn = [distance(rng.choice(len(rows), len(matched), replace=False)) for _ in range(DRAWS)]
    measured = distance(matched)
    return ContentShift(measured, float(np.mean(drawn)), int(np.sum(np.array(drawn) < measured)))
