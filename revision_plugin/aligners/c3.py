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

    Reports of fits and of geometry measure it with its noise, seeded, as training sees it. Its centroid gap then has
    two parts that no mean shift has. The mean of N draws of the noise has the norm sigma sqrt(d / N): .02 sqrt(1280 /
    100,000) is the plateau of 0.0023 in ReVision's figure 4, which the paper puts down to the noise's isotropy. It
    falls with N, and stands alone only where rows are not projected. Projection shortens the mean, too, to about
    1 / sqrt(1 + sigma^2 d) of it: 0.81 at these numbers.
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
