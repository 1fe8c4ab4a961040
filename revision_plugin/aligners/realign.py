"""ReAlign: anchor, trace and centroid alignment in closed form (ReVision, section 4)."""

from __future__ import annotations

import numpy as np

from ..embeddings.moments import IsotropicMap, stream_moments
from ..errors import RevisionError
from .base import ALIGNERS, Aligner, unit

EPSILON = 1e-12


@ALIGNERS.register("realign")
class ReAlign(Aligner):
    """Steps 1 and 2: e' = n(mu_x + s (e_y - mu_y)), s = sqrt(T_x / T_y). Step 3: e = n(e' - mu' + mu_x).

    `centroid_rounds` repeats step 3 (the paper takes one): each round re-measures the centroid of the
    projected source corpus and shifts by the remaining drift.
    """

    method = "realign"

    @classmethod
    def default_options(cls) -> dict:
        return {"centroid_rounds": 1}

    @classmethod
    def compute(cls, source, source_moments, target, target_moments, *, seed, device, centroid_rounds):
        if not isinstance(centroid_rounds, int) or centroid_rounds < 1:
            raise RevisionError(f"centroid_rounds must be a whole number of at least 1, not {centroid_rounds!r}")
        scale = np.sqrt(target_moments.trace / (source_moments.trace + EPSILON))  # eq. (21)
        parameters = {
            "source_mean": source_moments.mean,
            "target_mean": target_moments.mean,
            "scale": scale,
            "centroid_shifts": np.zeros((0, source.dim)),
        }
        for _ in range(centroid_rounds):
            drifted = stream_moments(
                source, transform=cls(source.dim, parameters, {}).mapping, device=device
            ).mean  # mu' of eq. (23)
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
        return IsotropicMap(p["scale"], p["target_mean"] - p["scale"] * p["source_mean"], p["centroid_shifts"])
