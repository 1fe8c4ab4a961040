"""What a covariance's eigenvalues tell: decay, effective rank, concentration; and what two spectra share."""

from __future__ import annotations

import numpy as np

from ..errors import NotMeasurable

CONSTANT = 1e-14  # variance of unit-norm rows that is only rounding
ZERO = 1e-12  # of the largest eigenvalue: below it float64 sums of squares hold no digit


def eigenvalues(covariance: np.ndarray) -> np.ndarray:
    """Eigenvalues [d] of a covariance of unit-norm rows, falling, none below 0. Raises NotMeasurable for constant
    rows.
    """
    return _of_varying_rows(np.linalg.eigvalsh(covariance))


def eigenpairs(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`eigenvalues` and their eigenvectors [d, d], one a column."""
    values, vectors = np.linalg.eigh(covariance)
    return _of_varying_rows(values), vectors[:, ::-1]


def _of_varying_rows(rising: np.ndarray) -> np.ndarray:
    values = rising[::-1].clip(0)
    if not values[0] > CONSTANT:
        raise NotMeasurable("the embeddings are constant")
    return values


def power_law_exponent(values: np.ndarray, *, energy: float = 0.99) -> float:
    """alpha of `lambda_k ~ k^-alpha`: least squares of log eigenvalue on log rank, over the ranks that hold `energy`.

    ReVision, appendix D.1, gives no range of ranks, so this one is ours; a numerically empty tail would otherwise
    decide the fit. Raises NotMeasurable for fewer than 3 such ranks.
    """
    leading_values = values[: int(np.searchsorted(cumulative_energy(values), energy)) + 1]
    if len(leading_values) < 3:
        raise NotMeasurable(f"a power law needs at least 3 eigenvalues, {len(leading_values)} hold the variance")
    return float(-np.polyfit(np.log(np.arange(1, len(leading_values) + 1)), np.log(leading_values), 1)[0])


def effective_rank(values: np.ndarray) -> float:
    """exp of the entropy of the normalised spectrum (Roy and Vetterli): 1 to d. ReVision, appendix G.2, names the
    measure without a formula.
    """
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def condition_number(values: np.ndarray) -> float:
    """Largest over smallest eigenvalue. Raises NotMeasurable for a singular covariance (fewer rows than dimensions)."""
    if values[-1] <= ZERO * values[0]:
        rank = int((values > ZERO * values[0]).sum())
        raise NotMeasurable(
            f"the covariance has rank {rank} of {len(values)}: more rows than dimensions are needed, that differ"
        )
    return float(values[0] / values[-1])


def anisotropy(values: np.ndarray) -> float:
    """A = largest eigenvalue over the mean eigenvalue (AnisoAlign, section 3): 1 for isotropic rows, at most d."""
    return float(values[0] / values.mean())


def effective_dimension(values: np.ndarray) -> float:
    """d_eff = tr(Sigma)^2 / tr(Sigma^2) (AnisoAlign, section 3): d for isotropic rows, 1 for a single direction."""
    return float(values.sum() ** 2 / np.square(values).sum())


def cumulative_energy(values: np.ndarray) -> np.ndarray:
    """E(K) [d], the share of the trace in the K largest eigenvalues, K = 1 to d (AnisoAlign, section 3)."""
    return np.cumsum(values) / values.sum()


def log_spectrum_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """C_lambda, Pearson's correlation of two log spectra [d] (AnisoAlign, section 3), over ranks non-zero in both.

    Raises NotMeasurable for fewer than 3 such ranks or a flat spectrum.
    """
    nonzero = (first > ZERO * first[0]) & (second > ZERO * second[0])
    a, b = np.log(first[nonzero]), np.log(second[nonzero])
    if len(a) < 3 or np.ptp(a) < 1e-9 or np.ptp(b) < 1e-9:
        raise NotMeasurable("a correlation of spectra needs at least 3 different non-zero eigenvalues in both")
    return float(np.corrcoef(a, b)[0, 1])


def subspace_overlap(first: np.ndarray, second: np.ndarray, counts: list[int]) -> dict[int, float]:
    """O_q = ||U_x^T U_y||_F^2 / q for each q: what the first q of two sets of eigenvectors [d, d] share.

    1 for equal subspaces, q/d in expectation for independent ones (AnisoAlign, section 3).
    """
    squares = np.square(first[:, : max(counts)].T @ second[:, : max(counts)])
    return {q: float(squares[:q, :q].sum() / q) for q in counts}


def principal_angle_sine(first: np.ndarray, second: np.ndarray) -> float:
    """Sine of the largest principal angle between the spans of two orthonormal bases [d, r]; 0 for equal spans."""
    outside = second - first @ (first.T @ second)
    return float(np.linalg.norm(outside, 2).clip(0, 1))
