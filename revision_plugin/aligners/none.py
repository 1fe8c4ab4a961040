"""No alignment: the control of every comparison (ReVision, "W/o Align")."""

from __future__ import annotations

from .base import ALIGNERS, Aligner


@ALIGNERS.register("none")
class NoAlignment(Aligner):
    """e_y itself."""

    method = "none"

    @classmethod
    def compute(cls, source, source_moments, target, target_moments, *, seed):
        return {}

    def align(self, x, parameters, *, training=False):
        return x.clone()
