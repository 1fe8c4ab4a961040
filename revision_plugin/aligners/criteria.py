"""What can be said of an aligner without a single pair: distances to the target, kept structure, and content.

Everything is measured on rows that the fit has not seen; docs/choosing.md says which quantity follows the pairs.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.optimize import linear_sum_assignment
from scipy.stats import skew
from sklearn.cluster import KMeans
from sklearn.utils import check_random_state

from ..embeddings.rows import ArrayRows
from ..errors import RevisionError
from .base import Aligner, create
from .covariances import dominant_directions, power
from .fitting import MINIMUM_ROWS, fit_without_report
from .matching import agree, around_mean, mutual_matches
from .monge import Monge

LEAST_ROWS = 12  # ten neighbours of another row, and one to spare
DIRECTIONS = 500  # of the sliced distance
NEIGHBOURS = 10
BALL = 5  # the neighbour whose distance is the radius; Naeem et al.'s k
CLUSTERS = 20
ASSIGNED_ROWS = 1000  # the optimal assignment takes the cube of the rows
ENERGY = 0.9  # of both covariances, in the frame where variances are compared
ROWS_A_DIRECTION = 10  # of that frame, at least
# where less is better; of all others more is
SMALLER_IS_BETTER = frozenset(
    "centroid_gap covariance_distance bures_distance frechet_distance sliced_wasserstein energy_distance "
    "variance_ratio_spread variance_ratio_largest hubness cluster_shift empty_clusters".split()
)
FLOORS = frozenset(["sliced_wasserstein_floor"])  # what two halves of the target give; it ranks no aligner


def unpaired_criteria(
    raw_source: np.ndarray, aligned_source: np.ndarray, target: np.ndarray, *, seed: int
) -> dict[str, float]:
    """Every quantity of one aligner, by its name, from unit-norm float64 rows that its fit has not seen.

    `raw_source` [n, d] are texts, `aligned_source` [n, d] the same rows after the aligner, `target` [m, d] images; no
    row of the target belongs to a row of the source. `seed` fixes halves, directions and clusters: the same for all
    aligners that are compared. Of `SMALLER_IS_BETTER` an aligner should have little, of the others much.
    Raises RevisionError for other shapes and for fewer than 12 rows.
    """
    _check(raw_source, aligned_source, target)
    pairwise = PairwiseCriteria(raw_source, target, seed=seed)
    return {**gaussian_distances(aligned_source, target), **pairwise.of(aligned_source)}


class PairwiseCriteria:
    """All of `unpaired_criteria` but the distances between Gaussians, for several aligners of the same raw rows: what
    does not depend on the aligner is computed once.
    """

    def __init__(self, raw_source: np.ndarray, target: np.ndarray, *, seed: int):
        _check(raw_source, raw_source, target)
        self._target, self._seed = target, seed
        self._inside_raw, self._inside_target = without_self(raw_source), without_self(target)
        self._before = similarities(around_mean(raw_source), around_mean(target))
        self._reference = matched_monge(raw_source, target).transform(raw_source)

    def of(self, aligned_source: np.ndarray) -> dict[str, float]:
        """The quantities of the aligner that made `aligned_source` [n, d] of the raw rows."""
        target, seed, inside_target = self._target, self._seed, self._inside_target
        between, inside_source = similarities(aligned_source, target), without_self(aligned_source)
        return {
            **sliced_distances(aligned_source, target, seed=seed),
            **kept_structure(self._inside_raw, inside_source),
            **variance_ratios(aligned_source, target, seed=seed),
            **ball_shares(between, inside_source, inside_target),
            "energy_distance": energy_distance(between, inside_source, inside_target),
            **nearest_rows(between),
            "assignment_cosine": assignment_cosine(between),
            **cluster_shift(aligned_source, target, seed=seed),
            **encoder_matches(self._before, between),
            "reference_cosine": reference_cosine(aligned_source, self._reference),
        }


def similarities(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosines [n, m], float32, of unit-norm rows [n, d] and [m, d]."""
    return first.astype(np.float32) @ second.astype(np.float32).T


def without_self(rows: np.ndarray) -> np.ndarray:
    """Cosines [n, n] of unit-norm rows, with -inf for a row and itself."""
    cosines = similarities(rows, rows)
    np.fill_diagonal(cosines, -np.inf)
    return cosines


def gaussian_distances(source: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Gap between the centroids, distance between the covariances relative to the target's norm, and the distance of
    Frechet between Gaussians with these moments (Dowson and Landau 1982; Heusel et al., arXiv 1706.08500, take its
    square): sqrt(|m - m'|^2 + tr(S + S' - 2 (S^(1/2) S' S^(1/2))^(1/2))), whose second term is Bures'.
    """
    gap = float(np.linalg.norm(source.mean(0) - target.mean(0)))
    first, second = (np.cov(rows.T, bias=True) for rows in (source, target))
    root = power(first, 0.5)
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    bures = max(float(np.trace(first) + np.trace(second) - 2 * cross), 0.0)
    return {
        "centroid_gap": gap,
        "covariance_distance": float(np.linalg.norm(first - second) / np.linalg.norm(second)),
        "bures_distance": bures**0.5,
        "frechet_distance": (gap**2 + bures) ** 0.5,
    }


def halves(source: np.ndarray, target: np.ndarray, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Two disjoint random halves of each, all four of one size: what is measured between a half of the source and one
    of the target compares with what chance leaves between both halves of the target.
    """
    rng, size = np.random.default_rng(seed), min(len(source), len(target)) // 2
    drawn = (rows[rng.permutation(len(rows))[: 2 * size]] for rows in (source, target))
    first, second = ([rows[:size], rows[size:]] for rows in drawn)
    return first, second


def sliced_wasserstein(first: np.ndarray, second: np.ndarray, *, seed: int) -> float:
    """Sliced 2-Wasserstein distance of as many rows [n, d] of both: the root of the mean, over random directions, of
    the squared distance of sorted projections, which is exact in one dimension (Bonneel et al. 2015).
    """
    directions = np.random.default_rng(seed).normal(size=(first.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    one, other = (np.sort((rows @ directions).T, axis=1) for rows in (first, second))
    return float(np.sqrt(np.square(one - other).mean()))


def sliced_distances(source: np.ndarray, target: np.ndarray, *, seed: int) -> dict[str, float]:
    """The sliced distance of source and target, and its floor: half the target against the other half."""
    texts, images = halves(source, target, seed)
    squares = [sliced_wasserstein(text, image, seed=seed) ** 2 for text, image in zip(texts, images)]
    return {
        "sliced_wasserstein": float(np.mean(squares) ** 0.5),
        "sliced_wasserstein_floor": sliced_wasserstein(*images, seed=seed),
    }


def kept_structure(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Psi, the correlation of all pairwise cosines [n, n] before and after, and Omega_10, the share of its ten nearest
    rows that a row keeps (AnisoAlign, appendix B); both are 1 for an isometry.
    """
    off = ~np.eye(len(before), dtype=bool)
    one, other = before[off].astype(np.float64), after[off].astype(np.float64)
    shared = _nearest_mask(before) & _nearest_mask(after)
    return {
        "similarity_correlation": float(np.corrcoef(one, other)[0, 1]),
        "kept_neighbours": float(shared.sum(1).mean() / NEIGHBOURS),
    }


def variance_ratios(source: np.ndarray, target: np.ndarray, *, seed: int) -> dict[str, float]:
    """Standard deviation and largest size of the logarithms of the generalised eigenvalues of the source's covariance
    against the target's, both with trace 1, in the directions that hold 90 % of both covariances (fewer where there
    are not ten rows for each).
    """
    texts, images = halves(source, target, seed)
    covariances = [np.cov(rows.T, bias=True) for rows in (*texts, *images)]
    first, second = covariances[0] + covariances[1], covariances[2] + covariances[3]
    vectors, rank = dominant_directions(first / np.trace(first) + second / np.trace(second), ENERGY)
    frame = vectors[:, : max(1, min(rank, len(texts[0]) // ROWS_A_DIRECTION))]

    def logarithms(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        a, b = (frame.T @ each @ frame / np.trace(each) for each in (one, other))
        tiny = np.finfo(float).eps * np.eye(len(a))
        return np.log(eigh(a + tiny, b + tiny, eigvals_only=True).clip(np.finfo(float).tiny))

    of_source = [logarithms(text, image) for text, image in zip(covariances[:2], covariances[2:])]
    return {
        "variance_ratio_spread": float(np.mean([each.std() for each in of_source])),
        "variance_ratio_largest": float(np.mean([np.abs(each).max() for each in of_source])),
    }


def ball_shares(between: np.ndarray, inside_source: np.ndarray, inside_target: np.ndarray) -> dict[str, float]:
    """Precision and recall (Kynkaanniemi et al., arXiv 1904.06991), density and coverage (Naeem et al., arXiv
    2002.09797) of the source as samples of the target, from cosines: a row's ball reaches to its fifth nearest row.
    """
    source_edges, target_edges = (
        np.partition(inside, -BALL, axis=1)[:, -BALL] for inside in (inside_source, inside_target)
    )
    in_target = between >= target_edges[None]
    return {
        "precision": float(in_target.any(1).mean()),
        "recall": float((between >= source_edges[:, None]).any(0).mean()),
        "density": float(in_target.sum(1).mean() / BALL),
        "coverage": float(in_target.any(0).mean()),
    }


def energy_distance(between: np.ndarray, inside_source: np.ndarray, inside_target: np.ndarray) -> float:
    """2 E|y - x| - E|y - y'| - E|x - x'| of different rows (Szekely and Rizzo 2013), from cosines of unit-norm rows."""

    def mean_distance(cosines: np.ndarray, count: int) -> float:
        return float(np.sqrt((2 - 2 * cosines[np.isfinite(cosines)].astype(np.float64)).clip(0)).sum() / count)

    inside = sum(mean_distance(each, len(each) * (len(each) - 1)) for each in (inside_source, inside_target))
    return 2 * mean_distance(between, between.size) - inside


def nearest_rows(between: np.ndarray) -> dict[str, float]:
    """What nearest rows of the other modality say, from cosines [n, m]: the mean cosine of a text to its nearest image
    and of an image to its nearest text, that of matches by CSLS (Conneau et al., arXiv 1710.04087, who choose models by
    it), the share of texts whose nearest image has them as its nearest text, the share of images that are nearest to
    some text, and how unevenly the images are shared out (skewness of their counts among ten nearest, Radovanovic et
    al. 2010).
    """
    image_of_text, text_of_image = between.argmax(1), between.argmax(0)
    text_scale, image_scale = (
        np.partition(each, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:].mean(1) for each in (between, between.T)
    )
    csls = (2 * between - text_scale[:, None] - image_scale).argmax(1)
    return {
        "nearest_cosine_source": float(between.max(1).mean()),
        "nearest_cosine_target": float(between.max(0).mean()),
        "csls_cosine": float(between[np.arange(len(between)), csls].mean()),
        "mutual_nearest": float(agree(image_of_text, text_of_image).mean()),
        "reached_targets": len(np.unique(image_of_text)) / between.shape[1],
        "hubness": float(skew(_nearest_mask(between).sum(0))),
    }


def assignment_cosine(between: np.ndarray) -> float:
    """Mean cosine of the best one-to-one assignment of the first rows, 1000 of each at most."""
    part = between[:ASSIGNED_ROWS, :ASSIGNED_ROWS]
    return float(part[linear_sum_assignment(part, maximize=True)].mean())


def cluster_shift(source: np.ndarray, target: np.ndarray, *, seed: int) -> dict[str, float]:
    """Half the summed difference of the shares of source and target in k-means clusters of the source, and the share
    of clusters that hold less than a tenth of the images that they should.
    """
    count = max(2, min(CLUSTERS, len(source) // NEIGHBOURS))
    clusters = KMeans(count, n_init=1, random_state=check_random_state(seed % 2**32)).fit(source)
    texts, images = (
        np.bincount(labels, minlength=count) / len(labels) for labels in (clusters.labels_, clusters.predict(target))
    )
    return {
        "cluster_shift": float(np.abs(texts - images).sum() / 2),
        "empty_clusters": float((images < texts / 10).mean()),
    }


def encoder_matches(before: np.ndarray, between: np.ndarray) -> dict[str, float]:
    """Mean cosines, after the aligner (`between` [n, m]), of the matches that the dual encoder makes before it, by
    cosines of both modalities centred (`before` [n, m]): for every text the image with the largest one, for every image
    such a text, and those where both agree; and the correlation of all cosines before with the cosines after. The
    matches are the same for every aligner.
    """
    image_of_text, text_of_image = before.argmax(1), before.argmax(0)
    texts, images = np.arange(len(before)), np.arange(before.shape[1])
    mutual = agree(image_of_text, text_of_image)
    of_texts, of_images = between[texts, image_of_text], between[text_of_image, images]
    return {
        "matched_cosine_source": float(of_texts.mean()),
        "matched_cosine_target": float(of_images.mean()),
        "matched_cosine_mutual": float(of_texts[mutual].mean()),
        "match_correlation": float(np.corrcoef(before.ravel(), between.ravel())[0, 1]),
    }


def reference_cosine(aligned_source: np.ndarray, reference: np.ndarray) -> float:
    """Mean cosine of the aligned rows and the same rows under a reference: the Monge map, fitted on the encoder's
    mutual matches alone, which are about the same things also where the corpora are not.
    """
    return float(np.einsum("ij,ij->i", aligned_source, reference).mean())


def matched_monge(source: np.ndarray, target: np.ndarray) -> Aligner:
    """`monge`, fitted on the rows [n, d] and [m, d] that the encoder matches with each other. Raises RevisionError
    where it matches fewer than two.
    """
    texts, images = mutual_matches(source, target)
    if len(texts) < MINIMUM_ROWS:
        raise RevisionError(f"the encoder matches {len(texts)} text of {len(source)} with an image; give more rows")
    rows = ArrayRows(source[texts]), ArrayRows(target[images])
    return fit_without_report(create(Monge, {}), *rows, seed=0, device=torch.device("cpu"))


def _nearest_mask(cosines: np.ndarray) -> np.ndarray:
    """True [n, m] at each row's ten largest."""
    mask = np.zeros(cosines.shape, bool)
    np.put_along_axis(mask, np.argpartition(cosines, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:], True, axis=1)
    return mask


def _check(raw_source: np.ndarray, aligned_source: np.ndarray, target: np.ndarray) -> None:
    shapes = [np.shape(rows) for rows in (raw_source, aligned_source, target)]
    if any(len(shape) != 2 for shape in shapes) or shapes[0] != shapes[1] or shapes[0][1] != shapes[2][1]:
        listed = ", ".join(str(list(shape)) for shape in shapes)
        raise RevisionError(f"criteria need raw and aligned source [n, d] and target [m, d], not {listed}")
    if min(shapes[0][0], shapes[2][0]) < LEAST_ROWS:
        raise RevisionError(
            f"criteria need at least {LEAST_ROWS} held-out rows of each corpus, not {shapes[0][0]} and {shapes[2][0]}"
        )
