"""ReAlign: anchor, trace and centroid alignment in closed form (ReVision, section 4)."""

from __future__ import annotations

import numpy as np

from ..embeddings.moments import IsotropicMap, stream_moments
from ..errors import RevisionError
from .base import ALIGNERS, Aligner, option, unit

EPSILON = 1e-12
LEAST_TRACE = 1e-6


@ALIGNERS.register("realign")
class ReAlign(Aligner):
    """Steps 1 and 2: e' = n(mu_x + s (e_y - mu_y)), s = sqrt(T_x / T_y). Step 3: e = n(e' - mu' + mu_x).

    `centroid_rounds` repeats step 3 (the paper takes one): each round re-measures the centroid of the
    projected source corpus and shifts by the remaining drift.
    """

    method = "realign"

    centroid_rounds: int = option(1, "times step 3 is repeated", low=1, high=100)

    def compute(self, source, source_moments, target, target_moments, *, seed, device):
        if source_moments.trace < LEAST_TRACE:  # its scale would only blow up what rounding left
            raise RevisionError(
                f"the source does not vary (trace {source_moments.trace:.3g}); give a corpus of many texts"
            )
        scale = np.sqrt(target_moments.trace / (source_moments.trace + EPSILON))  # eq. (21)
        parameters = {
            "source_mean": source_moments.mean,
            "target_mean": target_moments.mean,
            "scale": scale,
            "centroid_shifts": np.zeros((0, source.dim)),
        }
        for _ in range(self.centroid_rounds):
            projected = self.with_parameters(source.dim, parameters).mapping
            drifted = stream_moments(source, transform=projected, device=device).mean  # mu' of eq. (23)
            shifts = np.vstack([parameters["centroid_shifts"], target_moments.mean - drifted])
            parameters = {**parameters, "centroid_shifts": shifts}
        return parameters

    def align(self, x, parameters, *, training=False):
        aligned = unit(parameters["target_mean"] + parameters["scale"] * (x - parameters["source_mean"]))
        for shift in parameters["centroid_shifts"]:
            aligned = unit(aligned + shift)  # eqs. (23) and (24)
        return aligned

    def isotropic(self):
        p = self.parameters
        scale = p["scale"].item()
        return IsotropicMap(scale, p["target_mean"] - scale * p["source_mean"], p["centroid_shifts"])
