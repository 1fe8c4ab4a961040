"""Blockwise covariance alignment, the papers' failing control (ReVision, appendix F)."""

from __future__ import annotations

import numpy as np
from sklearn.covariance import shrunk_covariance

from ..embeddings.maps import LinearMap
from ..embeddings.moments import stream_moments
from .base import ALIGNERS, Aligner, option, unit
from .covariances import dominant_directions, power
from .mean_shift import MeanShift


@ALIGNERS.register("bc")
class BlockwiseCovariance(Aligner):
    """Anchor, then whiten and colour on the dominant subspace U and on its complement V, then recentre.

    `ridge` and `shrinkage` are off by default: the instability of the bare inverse is the point of the control (F.4).
    How far it goes depends on how the rows are stored. Texts that vary in fewer directions than the images have, once
    anchored, directions of next to no variance in which their mean is not zero. Divided by the variance's root the mean
    grows until all rows are nearly one. Float16's rounding is variance everywhere, so a ridge (docs/geometry.md).
    """

    method = "bc"
    needs_target_rows = True
    reads_covariances = True

    energy: float = option(
        0.9, "U: top eigenvectors of Cov(e_y) + Cov(e_x) with this share of the trace", low=0, high=1
    )
    ridge: float = option(0.0, "added to the source's eigenvalues, relative to the block's mean one", low=0)
    shrinkage: float = option(0.0, "scikit-learn's shrunk_covariance coefficient, for both modalities", low=0, high=1)

    def compute(self, source, source_moments, target, target_moments, *, seed, device):
        shift = target_moments.mean - source_moments.mean
        anchored = MeanShift().with_parameters(source.dim, {"shift": shift})  # eq. (57)
        source_covariance, target_covariance = source_moments.covariance, target_moments.covariance
        # a pass of its own: the anchored rows need both means, and their weights have no sum in the raw rows' moments
        anchored_covariance = stream_moments(
            source, covariance=True, transform=anchored.mapping, device=device
        ).covariance
        vectors, rank = dominant_directions(source_covariance + target_covariance, self.energy)
        linear = np.zeros((source.dim, source.dim))
        for basis in (vectors[:, :rank], vectors[:, rank:]):
            if basis.shape[1] == 0:
                continue
            blocks = [basis.T @ c @ basis for c in (anchored_covariance, target_covariance)]
            text, image = (shrunk_covariance(c, self.shrinkage) if self.shrinkage else c for c in blocks)
            floor = self.ridge * np.trace(text) / len(text)
            linear += basis @ power(image, 0.5) @ power(text + floor * np.eye(len(text)), -0.5) @ basis.T  # eq. (60)
        parameters = {"shift": shift, "linear": linear, "recentre": np.zeros(source.dim)}
        projected = self.with_parameters(source.dim, parameters).mapping
        drifted = stream_moments(source, transform=projected, device=device).mean
        return {**parameters, "recentre": target_moments.mean - drifted}  # eq. (62)

    def align(self, x, parameters, *, training=False):
        anchored = unit(x + parameters["shift"])  # eq. (57)
        aligned = unit(anchored @ parameters["linear"].T)  # eq. (61)
        return unit(aligned + parameters["recentre"])

    @property
    def final_shifts(self):
        return self.parameters["recentre"][None]

    def linear_map(self):
        p = self.parameters
        return LinearMap(p["shift"], True, p["linear"], np.zeros(self.dim), p["recentre"][None])
