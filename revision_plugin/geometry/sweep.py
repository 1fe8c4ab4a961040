"""The paired difference in frames of several energies: what a statement owes to the one energy it was read at.

Neither paper gives the energy of U. Everything that is said of U and V depends on it, so it is said of a range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import NotMeasurable, RevisionError
from .chance import isotropic_condition, random_angle
from .decomposition import Decomposition, Frame, Frames
from .measured import Numbers
from .pairs import Differences

ENERGIES = (0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


@dataclass(frozen=True)
class Statement:
    """A statement of ReVision that a number decides, with the paper's own bound where it gives one."""

    words: str
    metrics: tuple[str, ...]
    holds: Callable[..., bool]


STATEMENTS = (
    Statement("more than half of the squared bias is in V (COB)", ("COB_share",), lambda share: share > 0.5),
    Statement("the residual in U is stretched: kappa(U) above 1000", ("condition_U",), lambda kappa: kappa > 1000),
    Statement("the noise in V is stretched: kappa(V) above 10", ("condition_V",), lambda kappa: kappa > 10),
    Statement(
        "kappa(V) is more than twice that of isotropic rows",
        ("condition_V", "condition_V_isotropic"),
        lambda kappa, isotropic: kappa > 2 * isotropic,
    ),
    Statement(
        "the bias in V is as far from the noise's main direction as chance has it (95 of 100 random directions are)",
        ("bias_angle", "bias_angle_chance_low"),
        lambda angle, low: angle >= low,
    ),
)


def check_energies(energies: Sequence[float]) -> None:
    """Raise RevisionError unless these are shares of the variance, each once."""
    for energy in energies:
        if not 0 < energy <= 1:
            raise RevisionError(f"an energy of the sweep is a share of the variance, above 0 and up to 1, not {energy}")
        if list(energies).count(energy) > 1:
            raise RevisionError(f"the energy {energy:g} stands twice in the sweep; give each once")
    if not energies:
        raise RevisionError("the sweep has no energy; give at least one")


def measure_sweep(
    frames: Frames, energies: Sequence[float], differences: Differences, rows: np.ndarray, *, seed: int
) -> Numbers:
    """The numbers of the paired differences in the frame of each energy, by energy (`0.9`), falling apart as `Numbers`
    keep it where a frame leaves nothing to measure. `rows` [n, d] are sampled differences, for Tyler's estimator.
    """
    numbers = Numbers()
    start, last_rank = None, 0
    for energy in sorted(energies):
        frame, name = frames.at(energy), f"{energy:g}"
        split = Decomposition.of(frame, differences.mean, differences.covariance)
        numbers.note(name, "rank", lambda frame=frame: frame.rank)
        for part in ("PMB", "COB"):
            numbers.note(name, part, lambda part=part, split=split: split.energies()[part])
        numbers.note(name, "COB_share", split.orthogonal_share)
        numbers.note(name, "residual_coverage_U", split.coverage)
        numbers.note(name, "condition_U", split.condition_u)
        numbers.note(
            name, ("coupling_norm", "coupling_R2"), lambda split=split: split.coupling(count=differences.count)
        )
        # V lies in the V before: the block of its shape is near the fixed point
        start = None if start is None else start[frame.rank - last_rank :, frame.rank - last_rank :]
        start, last_rank = note_noise(numbers, name, split, rows, start=start), frame.rank
        note_chance(numbers, name, frame, len(rows), seed)
    return numbers


def note_noise(
    numbers: Numbers, name: str, split: Decomposition, rows: np.ndarray, *, start: np.ndarray | None = None
) -> np.ndarray | None:
    """Note kappa(V) and the bias angle of sampled differences [n, d]; returns the shape, where there is one."""
    names = ("condition_V", "bias_angle")
    try:
        shape = split.noise_shape(rows, start=start)
    except NotMeasurable as error:
        numbers.skip(name, names, str(error))
        return None
    numbers.note(name, names, lambda: split.noise(shape))
    return shape


def note_chance(numbers: Numbers, name: str, frame: Frame, rows: int, seed: int) -> None:
    """Note what chance gives for kappa(V) and for the bias angle in this frame, from as many rows."""
    dim = frame.v.shape[1]
    numbers.note(name, "condition_V_isotropic", lambda: isotropic_condition(rows, dim, seed=seed))
    numbers.note(name, ("bias_angle_chance", "bias_angle_chance_low"), lambda: random_angle(dim))


def verdict(numbers: Numbers, statement: Statement) -> str:
    """At which energies a statement holds, in words; never from a part of them."""
    groups: dict[str, list[str]] = {"holds": [], "does not hold": [], "not measured": []}
    for energy, metrics in numbers.metrics.items():
        values = [metrics.get(name) for name in statement.metrics]
        answer = "not measured" if None in values else "holds" if statement.holds(*values) else "does not hold"
        groups[answer].append(energy)
    found = {answer: energies for answer, energies in groups.items() if energies}
    if len(found) == 1:
        (answer,) = found
        whole = {"holds": "holds at all of the energies", "does not hold": "holds at none of the energies"}
        return whole.get(answer, answer)
    return "depends on the energy: " + "; ".join(
        f"{answer} at {', '.join(energies)}" for answer, energies in found.items()
    )
