"""Where an image's embedding lies between the texts' and the images' of two stores, and the captions nearest to it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..aligners import Aligner, load_aligner
from ..embeddings.item_views import require_same_view
from ..embeddings.rows import random_positions
from ..embeddings.store import Store
from ..encoders import Encoder, load_encoder, require_same
from ..errors import RevisionError
from ..geometry.plots import PICTURED, principal_view

logger = logging.getLogger(__name__)
HELD_ROWS = 50_000  # of a store, in memory: a random sample of a larger one
NEIGHBOURS = 8
TEXTS, IMAGES, ALIGNED = "texts", "images", "aligned texts"
NEIGHBOURHOODS = (TEXTS, ALIGNED)  # in which captions are searched


@dataclass(frozen=True)
class Neighbour:
    """A text of the source store: its id, what it says, and the cosine of its embedding with the image's."""

    id: str
    text: str
    cosine: float


@dataclass(frozen=True)
class Sight:
    """What lies around one image: its `place` [2] in the picture, the `cosines` to the centroid of each cloud by its
    name, and the `nearest` texts by the cloud of texts that they were searched in.
    """

    place: np.ndarray
    cosines: dict[str, float]
    nearest: dict[str, list[Neighbour]]


class EmbeddingSpace:
    """The embeddings of two stores, and what an aligner makes of the texts'. Open one with `EmbeddingSpace.open`.

    `points` are the places [n, 2] of at most `PICTURED` rows of each cloud in the plane of the first two principal
    components of texts and images together, with their `shares` [2] of the variance.
    """

    def __init__(self, encoder: Encoder, source: Store, target: Store, aligner: Aligner | None):
        self._encoder, self.source, self.target = encoder, source, target
        self.method = aligner.method if aligner else None
        self._positions = random_positions(len(source), HELD_ROWS, 0)
        self._rows = {
            TEXTS: _unit(source.take(self._positions)),
            IMAGES: _unit(target.take(random_positions(len(target), HELD_ROWS, 0))),
        }
        if aligner:
            self._rows[ALIGNED] = aligner.transform(self._rows[TEXTS])
        self._centroids = {name: _unit(rows.mean(0, dtype=np.float64)) for name, rows in self._rows.items()}
        shown = {name: random_positions(len(rows), PICTURED, 0) for name, rows in self._rows.items()}
        drawn = {name: self._rows[name][chosen].astype(np.float64) for name, chosen in shown.items()}
        self._centre, self._directions, self.shares = principal_view(drawn[IMAGES], drawn[TEXTS])
        self.points = {name: self._project(rows) for name, rows in drawn.items()}
        self.captions = [source.row(int(self._positions[row]))["text"] for row in shown[TEXTS]]

    @classmethod
    def open(
        cls, source: Store, target: Store, aligner: str | Path | None = None, *, device: str | torch.device = "cpu"
    ) -> EmbeddingSpace:
        """The space of a text store `source`, an image store `target` and a fitted `aligner`, whose encoder computes on
        `device`. Raises RevisionError where a store is of another kind or has fewer than two rows, where they are not
        of one encoder, and where that encoder has changed.
        """
        source.require("text", "the source")
        target.require("image", "the target")
        for store in (source, target):
            if len(store) < 2:
                raise RevisionError(f"{store.path}: holds {len(store)} rows; a cloud needs at least 2")
        problem = f"{source.path} and {target.path} were made with different encoders"
        require_same(source.encoder, target.encoder, problem, "give stores of one encoder")
        encoder = load_encoder(target.encoder.spec).to(device=device)
        problem = f"the encoder has changed since {target.path} was made"
        remedy = "put the original encoder back, or encode the store again"
        require_same(target.encoder, encoder.image_identity, problem, remedy, images_only=True)
        fitted = None if aligner is None else load_aligner(aligner)
        if fitted is not None:
            fitted.check_encoder(source.encoder, str(source.path))
            require_same_view(str(source.path), source.view, "the aligner", fitted.report.source.view)
        return cls(encoder, source, target, fitted)

    @property
    def searched(self) -> tuple[int, int]:
        """How many texts are searched for neighbours, and how many the store has."""
        return len(self._positions), len(self.source)

    def embed(self, image: Image.Image) -> np.ndarray:
        """The unit-norm embedding of an RGB image, float32 [D]."""
        pixels = self._encoder.image_processor.preprocess(image)["pixel_values"]
        return self._encoder.encode_pixels(pixels)[0].cpu().numpy()

    def look(self, image: Image.Image, k: int = NEIGHBOURS) -> Sight:
        """What lies around an RGB image; of each cloud of texts the `k` nearest that differ, the nearest first."""
        row = self.embed(image)
        cosines = {name: float(centroid @ row) for name, centroid in self._centroids.items()}
        clouds = [name for name in NEIGHBOURHOODS if name in self._rows]
        return Sight(self._project(row), cosines, {name: self._nearest(name, row, k) for name in clouds})

    def _project(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self._centre) @ self._directions

    def _nearest(self, cloud: str, row: np.ndarray, k: int) -> list[Neighbour]:
        cosines = self._rows[cloud] @ row
        found: dict[str, Neighbour] = {}  # by text: a caption that many items have is shown once
        for place in np.argsort(-cosines, kind="stable"):
            text = self.source.row(int(self._positions[place]))
            found.setdefault(text["text"], Neighbour(text["id"], text["text"], float(cosines[place])))
            if len(found) == k:
                break
        return [*found.values()]


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows [N, D], or one [D], scaled to unit norm, in float32 or better."""
    rows = rows.astype(np.float32) if rows.dtype == np.float16 else rows
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
