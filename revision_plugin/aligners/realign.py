"""ReAlign: anchor, trace and centroid alignment in closed form (ReVision, section 4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..embeddings.maps import IsotropicMap
from ..embeddings.moments import Moments, stream_moments
from ..embeddings.rows import Rows
from ..errors import RevisionError
from .base import ALIGNERS, Aligner, option, unit

EPSILON = 1e-12
LEAST_TRACE = 1e-6


@ALIGNERS.register("realign")
class ReAlign(Aligner):
    """Steps 1 and 2: e' = n(mu_x + s (e_y - mu_y)), s = sqrt(T_x / T_y). Step 3: e = n(e' - mu' + mu_x).

    `centroid_rounds` repeats step 3 (the paper takes one): each round re-measures the centroid of the
    projected source corpus and shifts by the remaining drift. 0 leaves step 3 out, and the phantom drift in.
    """

    method = "realign"

    centroid_rounds: int = option(1, "times step 3 is done; 0 leaves it out", low=0, high=100)

    def compute(self, source, source_moments, target, target_moments, *, seed, device):
        parameters = {
            "source_mean": source_moments.mean,
            "target_mean": target_moments.mean,
            "scale": trace_scale(source_moments, target_moments),
        }
        return with_centroid_shifts(self, parameters, source, self.centroid_rounds, device)

    def align(self, x, parameters, *, training=False):
        aligned = unit(parameters["target_mean"] + parameters["scale"] * (x - parameters["source_mean"]))  # eq. (22)
        return shifted(aligned, parameters["centroid_shifts"])

    @property
    def final_shifts(self):
        return self.parameters["centroid_shifts"]

    def isotropic(self):
        p = self.parameters
        scale = p["scale"].item()
        return IsotropicMap(scale, p["target_mean"] - scale * p["source_mean"], p["centroid_shifts"])


def trace_scale(source: Moments, target: Moments) -> float:
    """s = sqrt(T_x / T_y). Raises RevisionError for a source that does not vary."""
    if source.trace < LEAST_TRACE:  # its scale would only blow up what rounding left
        raise RevisionError(f"the source does not vary (trace {source.trace:.3g}); give a corpus of many texts")
    return np.sqrt(target.trace / (source.trace + EPSILON))  # eq. (21)


def with_centroid_shifts(
    aligner: Aligner, parameters: dict[str, Any], source: Rows, rounds: int, device: torch.device
) -> dict[str, Any]:
    """`parameters` and, from as many rounds of step 3, the `centroid_shifts` [rounds, d] that `aligner` maps with."""
    parameters = {**parameters, "centroid_shifts": np.zeros((0, source.dim))}
    for _ in range(rounds):
        projected = aligner.with_parameters(source.dim, parameters).mapping
        drifted = stream_moments(source, transform=projected, device=device).mean  # mu' of eq. (23)
        shifts = np.vstack([parameters["centroid_shifts"], parameters["target_mean"] - drifted])
        parameters = {**parameters, "centroid_shifts": shifts}
    return parameters


def shifted(aligned: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Unit-norm rows [N, d] moved by each of `shifts` [rounds, d] and projected again."""
    for shift in shifts:
        aligned = unit(aligned + shift)  # eqs. (23) and (24)
    return aligned
