"""The fixed frame: a dominant subspace U of both modalities, its complement V, and what falls into each.

ReVision, section 3.1: U holds the top eigenvectors of Cov(e_x) + Cov(e_y) up to an energy threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..aligners.covariances import dominant_directions
from ..errors import NotMeasurable
from .shape import tyler_shape
from .spectrum import CONSTANT, condition_number

ENERGY = 0.9  # as the aligner `bc` has it; ReVision gives no value


@dataclass(frozen=True)
class Frame:
    """Orthonormal `u` [d, r] and `v` [d, d - r], float64."""

    u: np.ndarray
    v: np.ndarray

    @classmethod
    def of(cls, *covariances: np.ndarray, energy: float = ENERGY) -> Frame:
        """The frame of the sum of `covariances` [d, d]. Raises NotMeasurable for constant rows."""
        total_covariance = np.sum(covariances, axis=0)
        if not np.trace(total_covariance) > CONSTANT:
            raise NotMeasurable("the embeddings are constant")
        vectors, rank = dominant_directions(total_covariance, energy)
        return cls(vectors[:, :rank], vectors[:, rank:])

    @property
    def rank(self) -> int:
        return self.u.shape[1]


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
        """From the mean [d] and the centred covariance [d, d] of the paired differences (ReVision, eq. 6 to 9)."""
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
        inside = float(np.einsum("ij,ik,kj->", self.frame.u, self.covariance, self.frame.u))
        return {
            "PMB": float(self.beta @ self.beta),
            "COB": float(self.gamma @ self.gamma),
            "residual_U": inside,
            "residual_V": float(np.trace(self.covariance)) - inside,
        }

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

    def noise_shape(self, differences: np.ndarray) -> tuple[float, float]:
        """(kappa in V, bias angle) of Tyler's shape of the differences [n, d] in V (ReVision, appendix B.6)."""
        v = self.frame.v
        if v.shape[1] < 2:
            raise NotMeasurable("V has fewer than 2 dimensions")
        values, vectors = np.linalg.eigh(tyler_shape((differences - self.beta - self.gamma) @ v))
        return condition_number(values[::-1]), self.bias_angle(vectors[:, -1])

    def coupling(self, *, count: int, ridge: float = 1e-3) -> tuple[float, float]:
        """(||L||, R^2) of the ridge regression of zeta on delta over `count` rows (ReVision, appendix C.2).

        lambda is `ridge` times the mean eigenvalue of D D^T, which ReVision leaves open. Both follow from the
        covariance: Z D^T = count * Sigma_VU.
        """
        u, v = self.frame.u, self.frame.v
        if v.shape[1] == 0:
            raise NotMeasurable("U is the whole space, so nothing is in V")
        inside, across = count * u.T @ self.covariance @ u, count * v.T @ self.covariance @ u
        outside = count * float(np.einsum("ij,ik,kj->", v, self.covariance, v))
        if np.trace(inside) <= 0 or outside <= 0:
            raise NotMeasurable("the residual does not vary in U and in V")
        level = ridge * np.trace(inside) / len(inside)
        linear = np.linalg.solve(inside + level * np.eye(len(inside)), across.T).T
        unexplained = outside - 2 * np.sum(linear * across) + np.sum((linear @ inside) * linear)
        return float(np.linalg.norm(linear, 2)), float(1 - unexplained / outside)
