"""Measures the modality gap between two stores, and what each aligner makes of it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from ..embeddings.moments import Moments, stream_moments
from ..embeddings.store import Store
from ..embeddings.verification import verified
from ..encoders import require_same
from ..errors import NotMeasurable, RevisionError
from . import neighbours, preservation, spectrum
from .decomposition import ENERGY, Decomposition, Frame, Frames
from .density import js_divergence, pairwise_cosines
from .measured import SOURCE, TARGET, Geometry
from .pairs import match_ids, sampled_positions, stream_differences, unit_rows
from .sweep import ENERGIES, check_energies, measure_sweep, note_chance, note_noise

logger = logging.getLogger(__name__)
SAMPLE_ROWS = 10000
NEIGHBOURS = 10, 20  # of the neighbourhood overlaps of ReVision and of AnisoAlign
OVERLAP_DIMENSIONS = (2, 4, 8, 16, 32, 64, 128, 256, 512)


def measure(
    source: Store,
    target: Store,
    aligners: dict,
    *,
    pairs: bool = False,
    rows: int = SAMPLE_ROWS,
    energy: float = ENERGY,
    sweep: Sequence[float] = ENERGIES,
    seed: int = 0,
) -> Geometry:
    """All metrics of the raw source and of the source under each of `aligners` (name -> Aligner), against the target.

    Covariances stream over all rows; neighbours, densities and Tyler's estimator take a seeded sample of at most `rows`
    rows a store. With `pairs` the stores' ids must match, and what only pairs can tell is measured too: of all clouds
    in the frame of `energy`, of the raw source also in the frames of every energy of `sweep`. Aligners map as they do
    in training (C3 with its noise). Raises RevisionError for stores or aligners of different encoders, for ids that do
    not match, and for energies that are no shares.
    """
    _check(source, target, aligners, rows, energy)
    check_energies(sweep)
    with verified(source, target):
        return _measure(source, target, aligners, pairs, rows, energy, sweep, seed)


def _measure(
    source: Store,
    target: Store,
    aligners: dict,
    pairs: bool,
    rows: int,
    energy: float,
    sweep: Sequence[float],
    seed: int,
) -> Geometry:
    partners = match_ids(source, target) if pairs else None
    geometry = Geometry(
        settings={**about_stores(source, target, pairs=pairs, rows=rows), "energy": energy, "seed": seed}
    )
    chosen, others = sampled_positions(source, target, partners, rows=rows, seed=seed)
    geometry.positions = {SOURCE: chosen, TARGET: others}
    texts, images = unit_rows(source.take(chosen)), unit_rows(target.take(others)).numpy()
    moments = {TARGET: stream_moments(target, covariance=True), SOURCE: stream_moments(source, covariance=True)}
    _measure_cloud(geometry, TARGET, images, moments[TARGET], seed)
    source_neighbours = _neighbourhoods(texts.numpy())
    frames = frame = None
    with contextlib.suppress(NotMeasurable):
        frames = Frames.of(moments[TARGET].covariance, moments[SOURCE].covariance)
        frame = frames.at(energy)
        geometry.settings["frame_rank"] = frame.rank
    for name, aligner in {SOURCE: None, **aligners}.items():
        logger.info("measuring %s", name)
        geometry.methods[name] = aligner.method if aligner else "none"
        with as_in_training(aligner, seed) as transform:
            if aligner:
                moments[name] = stream_moments(source, covariance=True, transform=transform)
            rows_now = (transform(texts) if transform else texts).numpy()
            differences = None if partners is None else stream_differences(source, target, partners, transform)
        _measure_cloud(geometry, name, rows_now, moments[name], seed)
        _measure_gap(geometry, name, moments[name], moments[TARGET])
        if aligner:
            _measure_preservation(geometry, name, texts.numpy(), rows_now, source_neighbours, seed)
        if frame and frames and differences:
            _measure_pairs(geometry, name, frame, rows_now, images, differences)
            note_chance(geometry, name, frame, len(images), seed)
            if name == SOURCE:
                logger.info("measuring pairs in %d frames", len(sweep))
                geometry.sweep = measure_sweep(frames, sweep, differences, images - rows_now, seed=seed)
    return geometry


def check_stores(source: Store, target: Store, rows: int) -> None:
    """Raise RevisionError unless the stores are texts and images of one encoder, and a sample of `rows` rows is one."""
    source.require("text", "the source")
    target.require("image", "the target")
    problem = f"{source.path} and {target.path} come from different encoders"
    require_same(source.encoder, target.encoder, problem, "encode both with one")
    if source.dim != target.dim:
        raise RevisionError(f"{source.path} and {target.path} differ in dimension: {source.dim} and {target.dim}")
    if rows < 2:
        raise RevisionError(f"the sample must have at least 2 rows, not {rows}")


def about_stores(source: Store, target: Store, *, pairs: bool, rows: int) -> dict:
    """What a report says of the stores that it is about, and of the sample of at most `rows` rows of each."""
    return {
        "source": str(source.path),
        "target": str(target.path),
        **({"view": source.view} if source.view else {}),
        "source_rows": len(source),
        "target_rows": len(target),
        "dim": source.dim,
        "encoder": source.encoder.spec,
        "pairs": pairs,
        "sample_rows": rows,
    }


def _check(source: Store, target: Store, aligners: dict, rows: int, energy: float) -> None:
    check_stores(source, target, rows)
    for name, aligner in aligners.items():
        aligner.check_encoder(source.encoder, str(source.path))
        if "$" in name or not name.isprintable():
            raise RevisionError(f"an aligner called '{name}' cannot be drawn; rename its folder")
        if name in (SOURCE, TARGET):
            raise RevisionError(f"an aligner cannot be called '{name}' in a report; rename its folder")
    if not 0 < energy <= 1:
        raise RevisionError(f"the frame's energy is a share of the variance, above 0 and up to 1, not {energy}")


@contextlib.contextmanager
def as_in_training(aligner, seed: int) -> Iterator[Callable | None]:
    """The aligner's map of float64 rows as training applies it: with its noise, which is the same for one seed."""
    if aligner is None or not aligner.noise_in_training:
        yield aligner
        return
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)  # one thread draws in the rows' order
        try:
            yield lambda x: aligner(x, training=True)
        finally:
            torch.set_num_threads(threads)


def _measure_cloud(geometry: Geometry, cloud: str, rows: np.ndarray, moments: Moments, seed: int) -> None:
    """What one cloud of embeddings is by itself."""
    geometry.samples[cloud] = rows
    geometry.note(cloud, "centroid_norm", lambda: np.linalg.norm(moments.mean))
    geometry.note(cloud, "trace", lambda: moments.trace)
    names = ("effective_rank", "effective_dimension", "anisotropy", "condition_number", "power_law_exponent")
    try:
        values, geometry.eigenvectors[cloud] = spectrum.eigenpairs(moments.covariance)
        geometry.spectra[cloud] = values
        geometry.cosines[cloud] = pairwise_cosines(rows, seed=seed)
    except NotMeasurable as error:
        geometry.skip(cloud, names, str(error))
        return
    for name in names:
        geometry.note(cloud, name, lambda name=name: getattr(spectrum, name)(values))


def _measure_gap(geometry: Geometry, cloud: str, source_moments: Moments, target: Moments) -> None:
    """How far a source cloud is from the target, without pairs."""
    geometry.note(cloud, "centroid_gap", lambda: np.linalg.norm(source_moments.mean - target.mean))
    rows, images = geometry.samples[cloud], geometry.samples[TARGET]
    if cloud in geometry.spectra and TARGET in geometry.spectra:
        source_covariance, target_covariance = source_moments.covariance, target.covariance
        geometry.note(
            cloud,
            "covariance_gap",
            lambda: np.linalg.norm(target_covariance - source_covariance) / np.linalg.norm(target_covariance),
        )
        spectra = geometry.spectra[cloud], geometry.spectra[TARGET]
        geometry.note(cloud, "log_spectrum_correlation", lambda: spectrum.log_spectrum_correlation(*spectra))
        counts = [q for q in OVERLAP_DIMENSIONS if q <= len(source_covariance) // 2] or [1]
        geometry.overlaps[cloud] = spectrum.subspace_overlap(
            geometry.eigenvectors[cloud], geometry.eigenvectors[TARGET], counts
        )
        geometry.note(cloud, "js_divergence", lambda: js_divergence(geometry.cosines[cloud], geometry.cosines[TARGET]))
    else:
        names = ("covariance_gap", "log_spectrum_correlation", "js_divergence")
        geometry.skip(cloud, names, "the embeddings are constant")
    names = ("mixing_rate", "mixing_entropy_source", "mixing_entropy_target")
    geometry.note(cloud, names, lambda: neighbours.mixing(rows, images))


def _measure_preservation(
    geometry: Geometry, cloud: str, before, after, source_neighbours: np.ndarray, seed: int
) -> None:
    """What an aligner keeps of the source."""
    geometry.note(cloud, "source_cosine", lambda: preservation.mean_cosine(before, after))
    correlation = lambda: preservation.similarity_correlation(before, after, seed=seed)  # noqa: E731
    geometry.note(cloud, "similarity_correlation", correlation)
    now = _neighbourhoods(after)
    for k in NEIGHBOURS:
        geometry.note(cloud, f"neighbourhood_overlap_{k}", lambda k=k: neighbours.overlap(source_neighbours, now, k))


def _neighbourhoods(rows: np.ndarray) -> np.ndarray:
    return neighbours.nearest(rows, min(max(NEIGHBOURS), len(rows) - 1))


def _measure_pairs(geometry: Geometry, cloud: str, frame: Frame, rows, images, differences) -> None:
    """What only pairs tell: the decomposition of their difference in the fixed frame, and the residual's shape."""
    geometry.note(cloud, "paired_cosine", lambda: preservation.mean_cosine(rows, images))
    split = Decomposition.of(frame, differences.mean, differences.covariance)
    for name, value in split.energies().items():
        geometry.note(cloud, name, lambda value=value: value)
    geometry.note(cloud, ("energy_ratio", "distance_ratio"), lambda: preservation.residual_ratios(rows, images))
    geometry.note(cloud, "residual_coverage_U", split.coverage)
    names = ("residual_anisotropy", "residual_effective_dimension")
    try:
        values = spectrum.eigenvalues(split.covariance)
        geometry.residual_energy[cloud] = spectrum.cumulative_energy(values)
        geometry.note(cloud, names, lambda: (spectrum.anisotropy(values), spectrum.effective_dimension(values)))
    except NotMeasurable:
        reason = "the paired differences do not vary"
        geometry.skip(cloud, names, reason)
    geometry.note(cloud, "condition_U", split.condition_u)
    geometry.note(cloud, ("coupling_norm", "coupling_R2"), lambda: split.coupling(count=differences.count))
    note_noise(geometry, cloud, split, images - rows)
