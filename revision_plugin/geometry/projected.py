"""The gap inside the model: text-made against image-made visual tokens where the projector hands them to the language
model, and both against its token embeddings.

AnisoAlign (section 3) and ReVision (section 3) measure the gap of the encoder's unit-norm embeddings. What a language
model reads comes out of a projector: here the same metrics are taken there, over the checkpoints of a training. That
is ours, and so are the ratios that make it comparable: a projector's outputs have any norm, so a distance is given as
it is and over the root of a trace.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ..aligners import Aligner
from ..embeddings.store import Store
from ..embeddings.verification import verified
from ..errors import NotMeasurable, RevisionError
from . import neighbours, preservation, spectrum
from .density import js_divergence, pairwise_cosines
from .measure import OVERLAP_DIMENSIONS, SAMPLE_ROWS, about_stores, as_in_training, check_stores
from .measured import SOURCE, TARGET, Geometry
from .pairs import match_ids, sample, sampled_rows
from .raw_cloud import RawCloud, covariance, eigenpairs, nearest_cosines

logger = logging.getLogger(__name__)
ALIGNED, TOKENS = "aligned", "tokens"
VISUAL = (TARGET, ALIGNED, SOURCE)
K = 20  # neighbours, as AnisoAlign counts them
BATCH = 4096  # embeddings that a projector is given at a time


class Space(Protocol):
    """What a checkpoint loads as (`hosts.projected_checkpoint.VisualSpace`)."""

    @property
    def projector(self) -> Any:
        """float32 tensors [N, D] -> [N, H]."""

    @property
    def tokens(self) -> torch.Tensor:
        """What the first layer is given for each token of the vocabulary, float32 [V, H]."""


class Checkpoint(Protocol):
    """What is measured (`hosts.projected_checkpoint.ProjectedCheckpoint`)."""

    @property
    def path(self) -> Path: ...

    @property
    def name(self) -> str: ...

    @property
    def training(self) -> str: ...

    @property
    def step(self) -> int | None: ...

    @property
    def aligner(self) -> Aligner: ...

    @property
    def own_aligner(self) -> bool: ...

    def load(self) -> Space: ...


@dataclass
class ProjectedGeometry:
    """What was measured: `settings` of the whole, and of each checkpoint, in the order of the report, a `Geometry`
    whose clouds are `target`, `aligned`, `source` (visual tokens of images, of aligned texts and of raw texts) and
    `tokens`.
    """

    settings: dict
    checkpoints: list[Geometry]


def measure_projected(
    source: Store,
    target: Store,
    checkpoints: Sequence[Checkpoint],
    *,
    pairs: bool = False,
    rows: int = SAMPLE_ROWS,
    seed: int = 0,
) -> ProjectedGeometry:
    """Measure the visual tokens [n, H] that each checkpoint's projector makes of texts and of images.

    Of each store a seeded sample of at most `rows` rows is projected, in float32, each embedding once however many
    visual tokens repeat it; means and covariances are float64. Texts are given raw and aligned, as training aligns them
    (C3 with its noise). Of the token embeddings [V, H] every row counts once, whatever texts hold: their norms,
    centroid and nearest ones are of all rows but those that are zero, their effective rank and neighbours of at most
    `rows`. With `pairs` the stores' ids must match. Checkpoints are ordered by training, then by step.

    Raises RevisionError for stores of different encoders, ids that do not match, and what a checkpoint's files lack.
    """
    check_stores(source, target, rows)
    if not checkpoints:
        raise RevisionError("no checkpoint to measure; give at least one")
    with verified(source, target):
        partners = match_ids(source, target) if pairs else None
        texts, images = sampled_rows(source, target, partners, rows=rows, seed=seed)
        settings = {**about_stores(source, target, pairs=pairs, rows=rows), "seed": seed}
        measured = []
        for checkpoint in in_order(checkpoints):
            logger.info("measuring %s", checkpoint.name)
            measured.append(_measure(checkpoint, texts, images, pairs, rows, seed))
    return ProjectedGeometry(settings, measured)


def in_order(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """By training, in the order in which these are named first, and in each by step; those without a step last."""
    trainings = list(dict.fromkeys(each.training for each in checkpoints))
    last = max((each.step for each in checkpoints if each.step is not None), default=0) + 1
    return sorted(
        checkpoints, key=lambda each: (trainings.index(each.training), last if each.step is None else each.step)
    )


def _measure(
    checkpoint: Checkpoint, texts: torch.Tensor, images: torch.Tensor, pairs: bool, rows: int, seed: int
) -> Geometry:
    space = checkpoint.load()
    with as_in_training(checkpoint.aligner, seed) as transform:
        assert transform is not None
        inputs = {TARGET: images, ALIGNED: transform(texts), SOURCE: texts}
    visual = {cloud: _project(space, x, checkpoint) for cloud, x in inputs.items()}
    table = space.tokens.numpy()
    table = table[np.linalg.norm(table, axis=1) > 0]
    if not len(table):
        raise RevisionError(f"{checkpoint.path}: all token embeddings are zero; get the language model again")
    few_tokens = table[sample(np.random.default_rng(seed), len(table), rows)]
    geometry = Geometry(
        settings={
            "name": checkpoint.name,
            "training": checkpoint.training,
            "step": checkpoint.step,
            "width": table.shape[1],
            "aligner": checkpoint.aligner.method,
            "aligner_path": str(checkpoint.aligner.path),
            "own_aligner": checkpoint.own_aligner,
            "tokens": len(table),
            "zero_tokens": len(space.tokens) - len(table),
            "token_sample": len(few_tokens),
        },
        methods={ALIGNED: checkpoint.aligner.method, SOURCE: "none"},
    )
    clouds = {cloud: RawCloud.of(x) for cloud, x in visual.items()} | {TOKENS: RawCloud.of(table)}
    covariances = {cloud: covariance(x) for cloud, x in visual.items()}
    vectors = {cloud: _measure_cloud(geometry, cloud, clouds[cloud], covariances[cloud]) for cloud in VISUAL}
    _measure_cloud(geometry, TOKENS, clouds[TOKENS], covariance(few_tokens))
    for cloud in VISUAL:
        if vectors[cloud] is not None:
            geometry.cosines[cloud] = pairwise_cosines(visual[cloud], seed=seed)
        _measure_against_tokens(geometry, cloud, clouds[cloud], clouds[TOKENS])
        nearest = lambda rows=visual[cloud]: nearest_cosines(rows, table).mean()  # noqa: E731
        geometry.note(cloud, "nearest_token_cosine", nearest)
        shares = lambda rows=visual[cloud]: _token_neighbours(rows, few_tokens)  # noqa: E731
        geometry.note(cloud, ("token_neighbours", "token_neighbours_by_chance"), shares)
    at_encoder = {cloud: RawCloud.of(x.numpy()) for cloud, x in inputs.items()}
    for cloud in (ALIGNED, SOURCE):
        _measure_gap(geometry, cloud, visual, clouds, covariances, vectors)
        before, there = at_encoder[cloud], at_encoder[TARGET]
        geometry.note(cloud, "gap_at_encoder", lambda: _distance(before, there) / there.root_trace)  # noqa: B023
        if pairs:
            geometry.note(cloud, "paired_cosine", lambda: preservation.mean_cosine(visual[cloud], visual[TARGET]))  # noqa: B023
    return geometry


def _project(space: Space, x: torch.Tensor, checkpoint: Checkpoint) -> np.ndarray:
    """Unit-norm rows [n, D] -> visual tokens float32 [n, H]."""
    width = next(space.projector.parameters()).shape[1]
    if width != x.shape[1]:
        raise RevisionError(
            f"{checkpoint.path}: its projector takes {width} dimensions, the stores have {x.shape[1]}; give stores of "
            "its encoder"
        )
    with torch.inference_mode():
        visual = torch.cat([space.projector(part.float()) for part in x.split(BATCH)])
    norms = visual.norm(dim=1)
    if not (norms.isfinite() & (norms > 0)).all():
        raise RevisionError(f"{checkpoint.path}: its projector gives visual tokens that are zero or not finite")
    return visual.numpy()


def _distance(first: RawCloud, second: RawCloud) -> float:
    return float(np.linalg.norm(first.mean - second.mean))


def _centroid_cosine(first: RawCloud, second: RawCloud) -> float:
    lengths = np.linalg.norm(first.mean) * np.linalg.norm(second.mean)
    if not lengths > 0:
        raise NotMeasurable("a centroid is zero")
    return float(first.mean @ second.mean / lengths)


def _measure_cloud(geometry: Geometry, cloud: str, moments: RawCloud, matrix: np.ndarray) -> np.ndarray | None:
    """What a cloud is by itself; `matrix` is its covariance [H, H], or that of a sample. Gives its eigenvectors [H, H],
    one a column, or None where it does not vary.
    """
    geometry.note(cloud, ("norm_mean", "norm_sd"), lambda: (moments.norm_mean, moments.norm_sd))
    geometry.note(cloud, "centroid_norm", lambda: np.linalg.norm(moments.mean))
    geometry.note(cloud, "trace", lambda: moments.trace)
    try:
        size = moments.trace + float(moments.mean @ moments.mean)
        geometry.spectra[cloud], vectors = eigenpairs(matrix, size)
    except NotMeasurable as error:
        geometry.skip(cloud, ("effective_rank", "effective_dimension"), str(error))
        return None
    for name in ("effective_rank", "effective_dimension"):
        geometry.note(cloud, name, lambda name=name: getattr(spectrum, name)(geometry.spectra[cloud]))
    return vectors


def _measure_gap(
    geometry: Geometry,
    cloud: str,
    visual: dict[str, np.ndarray],
    clouds: dict[str, RawCloud],
    covariances: dict[str, np.ndarray],
    vectors: dict[str, np.ndarray | None],
) -> None:
    """How far text-made visual tokens are from image-made ones."""
    texts, images = clouds[cloud], clouds[TARGET]
    geometry.note(cloud, "centroid_gap", lambda: _distance(texts, images))
    geometry.note(cloud, "relative_centroid_gap", lambda: _distance(texts, images) / images.root_trace)
    geometry.note(cloud, "centroid_cosine", lambda: _centroid_cosine(texts, images))
    geometry.note(cloud, "norm_ratio", lambda: texts.norm_mean / images.norm_mean)
    own, others = vectors[cloud], vectors[TARGET]
    if own is None or others is None:
        geometry.skip(cloud, ("covariance_gap", "js_divergence"), "the visual tokens are constant")
    else:
        difference, size = covariances[cloud] - covariances[TARGET], np.linalg.norm(covariances[TARGET])
        geometry.note(cloud, "covariance_gap", lambda: np.linalg.norm(difference) / size)
        counts = [q for q in OVERLAP_DIMENSIONS if q <= len(images.mean) // 2] or [1]
        geometry.overlaps[cloud] = spectrum.subspace_overlap(own, others, counts)
        geometry.note(cloud, "js_divergence", lambda: js_divergence(geometry.cosines[cloud], geometry.cosines[TARGET]))
    names = ("mixing_rate", "mixing_entropy_source", "mixing_entropy_target")
    geometry.note(cloud, names, lambda: neighbours.mixing(visual[cloud], visual[TARGET], k=K))


def _measure_against_tokens(geometry: Geometry, cloud: str, visual: RawCloud, tokens: RawCloud) -> None:
    """How far a cloud of visual tokens is from the token embeddings, by their centroids and norms."""
    geometry.note(cloud, "token_distance", lambda: _distance(visual, tokens))
    geometry.note(cloud, "relative_token_distance", lambda: _distance(visual, tokens) / tokens.root_trace)
    geometry.note(cloud, "token_centroid_cosine", lambda: _centroid_cosine(visual, tokens))
    geometry.note(cloud, "token_norm_ratio", lambda: visual.norm_mean / tokens.norm_mean)


def _token_neighbours(rows: np.ndarray, tokens: np.ndarray) -> tuple[float, float]:
    """(mean share of `tokens` [m, H] among the K nearest of `rows` [n, H] in both together, the share by chance)."""
    found = neighbours.nearest(np.concatenate([rows, tokens]), K)[: len(rows)]
    return float((found >= len(rows)).mean()), len(tokens) / (len(rows) + len(tokens) - 1)
