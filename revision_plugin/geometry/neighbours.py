"""Nearest neighbours by cosine: how far alignment mixes modalities and keeps neighbourhoods."""

from __future__ import annotations

import faiss
import numpy as np
from scipy.special import entr
from scipy.stats import hypergeom

from ..errors import NotMeasurable

EXACT_ROWS = 50000  # beyond, an inverted-file index: exact search costs the square of the rows
CELLS_SEARCHED = 32


def nearest(rows: np.ndarray, k: int, *, approximate: bool | None = None) -> np.ndarray:
    """Indices [N, k] of each row's k nearest other rows by cosine, nearest first.

    Exact (faiss, inner product of unit rows) up to EXACT_ROWS rows, by an inverted-file index of about 4 sqrt(N) cells
    beyond; `approximate` chooses itself. Raises NotMeasurable for k rows or fewer.
    """
    count = len(rows)
    if count <= k:
        raise NotMeasurable(f"{k} neighbours need at least {k + 1} rows, there are {count}")
    unit = np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
    dim = unit.shape[1]
    if count > EXACT_ROWS if approximate is None else approximate:
        cells = max(1, int(4 * count**0.5))
        index = faiss.index_factory(dim, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
        index.nprobe = min(cells, CELLS_SEARCHED)  # type: ignore[attr-defined]
        index.train(unit[:: max(1, count // (40 * cells))])
    else:
        index = faiss.IndexFlatIP(dim)
    index.add(unit)
    candidates = index.search(unit, k + 1)[1]
    other_mask = candidates != np.arange(count)[:, None]
    other_mask[other_mask.all(1), -1] = False  # a duplicate took the row's own place
    neighbours = candidates[other_mask].reshape(count, k)
    if (neighbours < 0).any():
        raise NotMeasurable(f"the cells searched hold fewer than {k} rows; measure on fewer rows, exactly")
    return neighbours


def overlap(before: np.ndarray, after: np.ndarray, k: int) -> float:
    """Mean share of its first `k` neighbours [N, k or more] that a row keeps; 1 where they are the same sets.

    Raises NotMeasurable for lists of fewer than k.
    """
    if before.shape[1] < k:
        raise NotMeasurable(f"{k} neighbours need at least {k + 1} rows, there are {before.shape[1] + 1}")
    shared = (before[:, :k, None] == after[:, None, :k]).any(2)
    return float(shared.mean())


def neighbourhood_overlap(before: np.ndarray, after: np.ndarray, *, k: int = 10) -> float:
    """Share of its k nearest rows that a row keeps from `before` [N, D] to `after` [N, D]; 1 for an isometry.

    ReVision, appendix F.4, takes k = 10; AnisoAlign's Omega_k is the same with k = 20.
    """
    return overlap(nearest(before, k), nearest(after, k), k)


def mixing(texts: np.ndarray, images: np.ndarray, *, k: int = 20) -> tuple[float, float, float]:
    """(mixing rate, M_k^Z, M_k^X) among the k nearest rows of the union of `texts` [N, D] and `images` [M, D].

    The rate is the mean share of the other modality: 0 apart, about 0.5 mixed. ReVision, appendix D.3, gives k = 20 and
    no definition; its 0.32 to 4.35 % may count other neighbours, so compare rates of one report only. M_k is the
    binary entropy of the local share of images, averaged over the texts (Z) and over the images (X), each divided by
    what shuffled labels give, so 1 is mixed as by chance (AnisoAlign, appendix B).
    """
    other = _share_of_other(texts, images, k)
    shares = np.arange(k + 1) / k
    averages = []
    for rows, foreign in ((slice(0, len(texts)), len(images)), (slice(len(texts), None), len(texts))):
        chance = hypergeom(len(texts) + len(images) - 1, foreign, k).pmf(np.arange(k + 1))
        averages.append(float(_binary_entropy(other[rows]).mean() / (chance @ _binary_entropy(shares))))
    return float(other.mean()), averages[0], averages[1]


def _share_of_other(texts: np.ndarray, images: np.ndarray, k: int) -> np.ndarray:
    """Share [N + M] of the other modality among each row's neighbours in the union."""
    is_image = np.repeat([False, True], [len(texts), len(images)])
    neighbours = nearest(np.concatenate([texts, images]), k)
    return (is_image[neighbours] != is_image[:, None]).mean(1)


def _binary_entropy(share: np.ndarray) -> np.ndarray:
    return entr(share) + entr(1 - share)
