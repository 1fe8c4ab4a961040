"""Spectra of aligned texts: why blockwise covariance alignment fails (ReVision, appendix F), and what long captions do
(appendix G).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from revision_plugin.aligners import Aligner, BlockwiseCovariance, ReAlign
from revision_plugin.embeddings.moments import Moments, stream_moments
from revision_plugin.embeddings.rows import RandomRows
from revision_plugin.embeddings.store import Store
from revision_plugin.errors import NotMeasurable
from revision_plugin.geometry.neighbours import nearest, overlap
from revision_plugin.geometry.spectrum import condition_number, effective_rank, eigenvalues
from scripts.studies.held_out import fitted_and_unseen

OVERLAP_ROWS = 3000
RANKS = 64  # of a spectrum that are kept
RIDGES = (0.0, 1e-6, 1e-4, 1e-2, 1e-1, 1.0)
ENERGIES = (0.5, 0.99)


def blockwise_variants(ridges: Sequence[float], energies: Sequence[float]) -> dict[str, BlockwiseCovariance]:
    """`bc` at each ridge, and at each share of the variance that U holds beside the default without a ridge.

    The paper's has no ridge and gives no share, so what comes of it is shown for several of both.
    """
    variants = {f"bc, ridge {ridge:g}": BlockwiseCovariance(ridge=ridge) for ridge in ridges}
    return variants | {f"bc, U of {energy:g}": BlockwiseCovariance(energy=energy) for energy in energies}


def blockwise_failure(
    source: Store,
    target: Store,
    *,
    ridges: Sequence[float] = RIDGES,
    energies: Sequence[float] = ENERGIES,
    seed: int = 0,
) -> dict:
    """Kept neighbours (of 10) and held-out gap of blockwise covariance alignment, beside ReAlign's (ReVision, figure
    10(b) and appendix F.4).

    Ours are the ridges, the shares of variance in U, the gap, and that both are measured on rows held out: neighbours
    on a sample of at most 3000.
    """
    (fitted, unseen), (images, images_unseen) = map(fitted_and_unseen, (source, target))
    sample = RandomRows(unseen, OVERLAP_ROWS, seed)
    rows = np.concatenate(list(sample.blocks(4096))).astype(np.float64)
    source_neighbours, target_mean = nearest(rows, 10), stream_moments(images_unseen).mean

    def measured(aligner: Aligner) -> dict:
        aligner.fit(fitted, images, held_out=0)
        moved = stream_moments(unseen, transform=aligner.mapping).mean
        return {
            "gap_held_out": float(np.linalg.norm(moved - target_mean)),
            "neighbourhood_overlap_10": overlap(source_neighbours, nearest(aligner.transform(rows), 10), 10),
        }

    variants: dict[str, Aligner] = {"realign": ReAlign(), **blockwise_variants(ridges, energies)}
    return {name: measured(aligner) for name, aligner in variants.items()}


def spectrum_decay(
    source: Store, target: Store, *, ridges: Sequence[float] = RIDGES, energies: Sequence[float] = ENERGIES
) -> dict:
    """Eigenvalues of the covariances of texts, of texts under blockwise covariance alignment and under ReAlign, and of
    images (ReVision, figure 10(a) and appendix F.4).

    On rows held out, where noise that the fit has amplified shows; fitted rows have the images' blocks by construction.
    That is ours, as are ridges, shares of variance in U and `largest_gain`, how far the fitted map stretches the
    direction it stretches most. The condition number hangs on the last rank counted: figure and record have the
    eigenvalues at up to 64 ranks from 1 to d. Where too few rows leave it none, it is null and `missing` says why.
    """
    (fitted, unseen), (images, images_unseen) = map(fitted_and_unseen, (source, target))
    ranks = kept_ranks(source.dim)
    record = {
        "rows": [len(unseen), len(images_unseen)],
        "ranks": ranks,
        "target": _spectrum(stream_moments(images_unseen, covariance=True), ranks),
        "text": _spectrum(stream_moments(unseen, covariance=True), ranks),
        "aligned": {},
    }
    variants: dict[str, Aligner] = {"realign": ReAlign(), **blockwise_variants(ridges, energies)}
    for name, aligner in variants.items():
        aligner.fit(fitted, images, held_out=0)
        moved = stream_moments(unseen, covariance=True, transform=aligner.mapping)
        matrix = aligner.parameters["linear" if isinstance(aligner, BlockwiseCovariance) else "scale"]
        gain = np.linalg.norm(np.atleast_2d(matrix), 2)
        record["aligned"][name] = {**_spectrum(moved, ranks), "largest_gain": float(gain)}
    return record


def caption_lengths(texts: dict[str, Store], target: Store) -> dict:
    """Spectrum, effective rank, trace and raw gap of text stores of several lengths beside the images', and the
    held-out gap that ReAlign leaves (ReVision, figure 11 and appendix G).

    Figure 11(a) is the effective rank and (c) the raw gap. What (b) shows, neither caption nor text says; appendix G.2
    speaks of a diffuse covariance there, so ours is the spectrum, as shares of the trace, whose entropy (a) is. Trace
    and held-out gap are ours.
    """
    target_moments = stream_moments(target, covariance=True)
    ranks = kept_ranks(target.dim)
    record = {"ranks": ranks, "target": _spectrum(target_moments, ranks), "texts": {}}
    for name, store in texts.items():
        text_moments = stream_moments(store, covariance=True)
        held_out = ReAlign().fit(store, target).report.held_out
        record["texts"][name] = {
            **_spectrum(text_moments, ranks),
            "gap_before": float(np.linalg.norm(text_moments.mean - target_moments.mean)),
            "gap_held_out": held_out.centroid_gap if held_out else None,
        }
    return record


def kept_ranks(dim: int) -> list[int]:
    """Up to 64 ranks from 1 to `dim`, evenly spaced in their logarithm."""
    return np.unique(np.geomspace(1, dim, RANKS).round().astype(int)).tolist()


def _spectrum(moments: Moments, ranks: list[int]) -> dict:
    """Eigenvalues at `ranks`, and what all of them tell. Raises NotMeasurable for rows that do not vary."""
    values = eigenvalues(moments.covariance)
    record = {
        "eigenvalues": values[np.array(ranks) - 1].tolist(),
        "trace": moments.trace,
        "effective_rank": effective_rank(values),
        "condition_number": None,
    }
    try:
        record["condition_number"] = condition_number(values)
    except NotMeasurable as error:
        record["missing"] = str(error)
    return record
