"""Mean shift: n(e_y - mu_y + mu_x) (Unicorn, arXiv 2503.22655)."""

from __future__ import annotations

import numpy as np

from ..embeddings.maps import IsotropicMap
from .base import ALIGNERS, Aligner, unit


@ALIGNERS.register("mean_shift")
class MeanShift(Aligner):
    """Moves the source centroid onto the target's and projects back to the sphere."""

    method = "mean_shift"

    def compute(self, source, source_moments, target, target_moments, *, seed, device):
        return {"shift": target_moments.mean - source_moments.mean}

    def align(self, x, parameters, *, training=False):
        return unit(x + parameters["shift"])

    def isotropic(self):
        return IsotropicMap(1.0, self.parameters["shift"], np.zeros((0, self.dim)))
