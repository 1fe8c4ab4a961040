"""Nearest neighbours by cosine: how far alignment mixes modalities and keeps neighbourhoods (ReVision, appendix C)."""

from __future__ import annotations

import numpy as np


def nearest(rows: np.ndarray, k: int) -> np.ndarray:
    """Indices [N, k] of each row's k nearest other rows by cosine, exact. Raises ValueError for k rows or fewer."""
    from sklearn.neighbors import NearestNeighbors

    if len(rows) <= k:
        raise ValueError(f"{k} neighbours need at least {k + 1} rows, there are {len(rows)}")
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(unit).kneighbors(return_distance=False)


def neighbourhood_overlap(before: np.ndarray, after: np.ndarray, *, k: int = 10) -> float:
    """Mean share of its k nearest rows that a row keeps from `before` [N, D] to `after` [N, D]; 1 for an isometry."""
    pairs = zip(nearest(before, k), nearest(after, k))
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in pairs]) / k)


def mixing_rate(texts: np.ndarray, images: np.ndarray, *, k: int = 20) -> float:
    """Mean share of the other modality among the k nearest rows of the union; 0 when apart, about 0.5 when mixed."""
    is_image = np.repeat([False, True], [len(texts), len(images)])
    found = nearest(np.concatenate([texts, images]), k)
    return float((is_image[found] != is_image[:, None]).mean())
