"""No alignment: the control of every comparison (ReVision, "W/o Align")."""

from __future__ import annotations

import numpy as np

from ..embeddings.maps import IsotropicMap
from .base import ALIGNERS, Aligner


@ALIGNERS.register("none")
class NoAlignment(Aligner):
    """e_y itself."""

    method = "none"
    uses_statistics = False

    def compute(self, source, source_moments, target, target_moments, *, seed, device):
        return {}

    def align(self, x, parameters, *, training=False):
        return x.clone()

    def isotropic(self):
        return IsotropicMap(1.0, np.zeros(self.dim), np.zeros((0, self.dim)))
