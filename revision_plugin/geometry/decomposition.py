"""The fixed frame: a dominant subspace U of both modalities, its complement V, and what falls into each.

ReVision, section 3.1, eqs. (1) to (3): U holds the top eigenvectors of Cov(e_x) + Cov(e_y) up to an energy threshold,
which the paper does not give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..aligners.covariances import directions, leading
from ..errors import NotMeasurable
from .shape import tyler_shape
from .spectrum import CONSTANT, condition_number

ENERGY = 0.9  # as the aligner `bc` has it; ReVision gives no value, so sweep.py takes several


@dataclass(frozen=True)
class Frame:
    """Orthonormal `u` [d, r] and `v` [d, d - r], float64."""

    u: np.ndarray
    v: np.ndarray

    @classmethod
    def of(cls, *covariances: np.ndarray, energy: float = ENERGY) -> Frame:
        """The frame of the sum of `covariances` [d, d]. Raises NotMeasurable for constant rows."""
        return Frames.of(*covariances).at(energy)

    @property
    def rank(self) -> int:
        return self.u.shape[1]


@dataclass(frozen=True)
class Frames:
    """The frames of one pair of clouds: eigenvalues [d], falling, and eigenvectors [d, d] of their covariances' sum."""

    values: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(cls, *covariances: np.ndarray) -> Frames:
        """Of the sum of `covariances` [d, d]. Raises NotMeasurable for constant rows."""
        total_covariance = np.sum(covariances, axis=0)
        if not np.trace(total_covariance) > CONSTANT:
            raise NotMeasurable("the embeddings are constant")
        return cls(*directions(total_covariance))

    def at(self, energy: float) -> Frame:
        """The frame whose U holds the share `energy` of the variance."""
        rank = leading(self.values, energy)
        return Frame(self.vectors[:, :rank], self.vectors[:, rank:])


@dataclass(frozen=True)
class Decomposition:
    """Delta = e_x - e_y split in a frame: bias `beta` (PMB, in U) and `gamma` (COB, in V), each [d]; covariance [d,
    d].
    """

    frame: Frame
    beta: np.ndarray
    gamma: np.ndarray
    covariance: np.ndarray  # of Delta: residuals delta + zeta

    @classmethod
    def of(cls, frame: Frame, mean: np.ndarray, covariance: np.ndarray) -> Decomposition:
        """From the mean [d] and the centred covariance [d, d] of the paired differences (ReVision, eqs. (4) to
        (8)).
        """
        beta = frame.u @ (frame.u.T @ mean)
        return cls(frame, beta, mean - beta, covariance)

    def residuals(self, differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(delta, zeta), each [n, d]: the centred differences [n, d] in U and in V; with the biases they sum to
        them.
        """
        centred = differences - (self.beta + self.gamma)
        delta = (centred @ self.frame.u) @ self.frame.u.T
        return delta, centred - delta

    def energies(self) -> dict[str, float]:
        """Squared norms of the biases and mean squared norms of the residuals; together E||Delta||^2."""
        inside = _variance(self.covariance, self.frame.u)
        return {
            "PMB": float(self.beta @ self.beta),
            "COB": float(self.gamma @ self.gamma),
            "residual_U": inside,
            "residual_V": float(np.trace(self.covariance)) - inside,
        }

    def orthogonal_share(self) -> float:
        """COB's share of the squared bias."""
        inside, outside = self.beta @ self.beta, self.gamma @ self.gamma
        if not inside + outside > 0:
            raise NotMeasurable("there is no bias")
        return float(outside / (inside + outside))

    def coverage(self) -> float:
        """eta_U, the share of the residual's variance in U (AnisoAlign, section 3)."""
        total = float(np.trace(self.covariance))
        if total <= 0:
            raise NotMeasurable("the paired differences do not vary")
        return self.energies()["residual_U"] / total

    def condition_u(self) -> float:
        """kappa of the residual's covariance in U."""
        inside = self.frame.u.T @ self.covariance @ self.frame.u
        values = np.linalg.eigvalsh(inside)[::-1].clip(0)
        if not values[0] > 0:
            raise NotMeasurable("the residual does not vary in U")
        return condition_number(values)

    def bias_angle(self, direction: np.ndarray) -> float:
        """Degrees, 0 to 90, between gamma and a unit direction [d - r] of V."""
        length = np.linalg.norm(self.gamma)
        if length == 0:
            raise NotMeasurable("there is no bias in V")
        return float(np.degrees(np.arccos(np.clip(abs(self.frame.v @ direction @ self.gamma) / length, 0, 1))))

    def noise_shape(self, differences: np.ndarray, *, start: np.ndarray | None = None) -> np.ndarray:
        """Tyler's shape [d - r, d - r] of the differences [n, d] in V (ReVision, appendix B.6), from `start`."""
        v = self.frame.v
        if v.shape[1] < 2:
            raise NotMeasurable("V has fewer than 2 dimensions")
        return tyler_shape((differences - self.beta - self.gamma) @ v, start=start)

    def noise(self, shape: np.ndarray) -> tuple[float, float]:
        """(kappa in V, bias angle in degrees) of the noise of this `noise_shape`, as in ReVision's figure 2(d)."""
        values, vectors = np.linalg.eigh(shape)
        return condition_number(values[::-1]), self.bias_angle(vectors[:, -1])

    def coupling(self, *, count: int, ridge: float = 1e-3) -> tuple[float, float]:
        """(||L||, R^2) of the ridge regression of zeta on delta over `count` rows (ReVision, appendix C.2, eq. (50)).

        lambda is ours, as ReVision gives none: `ridge` times the mean eigenvalue of D D^T. Both follow from the
        covariance: Z D^T = count * Sigma_VU.
        """
        u, v = self.frame.u, self.frame.v
        if v.shape[1] == 0:
            raise NotMeasurable("U is the whole space, so nothing is in V")
        inside, across = count * u.T @ self.covariance @ u, count * v.T @ self.covariance @ u
        outside = count * _variance(self.covariance, v)
        if np.trace(inside) <= 0 or outside <= 0:
            raise NotMeasurable("the residual does not vary in U and in V")
        level = ridge * np.trace(inside) / len(inside)
        linear = np.linalg.solve(inside + level * np.eye(len(inside)), across.T).T
        unexplained = outside - 2 * np.sum(linear * across) + np.sum((linear @ inside) * linear)
        return float(np.linalg.norm(linear, 2)), float(1 - unexplained / outside)


def _variance(covariance: np.ndarray, basis: np.ndarray) -> float:
    """The variance that falls into an orthonormal basis [d, k]."""
    return float(np.sum(basis * (covariance @ basis)))
