"""C3, Connect-Collapse-Corrupt (arXiv 2401.08567): mean shift, and isotropic noise while training."""

from __future__ import annotations

import numpy as np
import torch

from ..embeddings.maps import IsotropicMap
from .base import ALIGNERS, Aligner, option, unit


@ALIGNERS.register("c3")
class ConnectCollapseCorrupt(Aligner):
    """n(e_y - mu_y + mu_x + sigma * eps), eps ~ N(0, I), fresh at every training step; no noise at evaluation.

    The noise comes from torch's generator of the device, which the trainer seeds and stores in its checkpoints.
    ReVision gives no sigma and C3 treats it as a hyperparameter: compare over several.
    """

    method = "c3"
    noise_in_training = True

    sigma: float = option(0.02, "standard deviation of the noise in each dimension", low=0, high=1000)

    def compute(self, source, source_moments, target, target_moments, *, seed, device):
        return {"shift": target_moments.mean - source_moments.mean, "sigma": self.sigma}

    def align(self, x, parameters, *, training=False):
        moved = x + parameters["shift"]
        if training:
            moved = moved + parameters["sigma"] * torch.randn_like(moved)
        return unit(moved)

    def isotropic(self):
        return IsotropicMap(1.0, self.parameters["shift"], np.zeros((0, self.dim)))
