"""AnisoAlign's options: its paper publishes no values, the defaults are ours."""

from __future__ import annotations

from typing import Any

from ..._common.validation import option
from ...errors import RevisionError
from ..base import Aligner

DROPPED = ("ridge", "a_v")  # options of 0.1.0, whose aligners open all the same


class AnisoOptions(Aligner):
    """Of the frame: `energy`. Of stage I: `partners` to `sigma_max`. Of stage II: the bounds and the weights.

    Of both trainings: `steps` to `training_rows`. Switches turn components off, for the paper's ablation.
    """

    energy: float = option(0.9, "share of the trace of both covariances that U holds", above=0, high=1)
    partners: int = option(4, "p, the partners a block keeps in the phase graph", low=1, high=10_000)
    tau: float = option(0.1, "length of the drift's step", low=0)
    sigma_min: float = option(0.05, "smallest noise of the phases, radians", above=0)
    sigma_max: float = option(1.0, "largest noise of the phases, radians", above=0)
    a_theta: float = option(0.3, "bound of the phase correction, radians", low=0)
    a_rho: float = option(0.2, "bound of the correction of the log radius", low=0)
    prior_weight: float = option(1.0, "weight of the prior in stage II", low=0)
    phase_weight: float = option(1.0, "weight of the phase structure in stage II", low=0)
    steps: int = option(1000, "steps of each training", low=1, high=10**7)
    batch: int = option(512, "rows a step", low=1, high=10**6)
    hidden: int = option(128, "width of the networks", low=1, high=2**16)
    learning_rate: float = option(5e-3, "of AdamW, cosine to zero", above=0)
    training_rows: int = option(20000, "seeded sample of each corpus; memory does not grow with the corpus", low=2)
    mixing: bool = option(False, "mix the directions of U by a random rotation; the paper names no rule to learn one")
    quantile_map: bool = option(True, "map the radii to the target's quantiles")
    v_scaling: bool = option(True, "scale V to the target's standard deviations")
    refinement: bool = option(True, "stage II, the learnt bounded correction")
    prior_loss: bool = option(True, "the prior's term in stage II")
    prior_scaling: bool = option(
        True, "scale stage II's bounds by what the prior has learnt (ours); without, full bounds"
    )
    phase_loss: bool = option(True, "the phase structure's term in stage II")
    recentring: bool = option(True, "shift by what is left of the centroid gap at the end")

    @classmethod
    def saved_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in options.items() if name not in DROPPED}
        return {"prior_scaling": False, **kept}  # 0.1.0 had no such option; its stage II ran at its full bounds

    def _check(self) -> None:
        super()._check()
        if self.sigma_min > self.sigma_max:
            raise RevisionError(
                f"aligner 'aniso': sigma_min {self.sigma_min!r} is larger than sigma_max {self.sigma_max!r}"
            )
