"""The records of part two by variant, and differences between variants, paired by seed and question."""

from __future__ import annotations

import numpy as np

from scripts.claims.comparison import Interval, bootstrap
from scripts.claims.tuning_plan import PART, TuningVariant


class TuningResults:
    """The records of part two by variant; answers are [seeds, questions] in the same order of both everywhere."""

    def __init__(self, records: list[dict]):
        by_name: dict[str, list[dict]] = {}
        for record in sorted(records, key=lambda record: record["seed"]):
            if record["part"] == PART:
                by_name.setdefault(record["variant"], []).append(record)
        self._right = {
            name: np.array([record["right"] for record in rows], np.float64) for name, rows in by_name.items()
        }
        self._kinds = next((np.array(rows[0]["kinds"]) for rows in by_name.values()), np.array([]))

    def __contains__(self, variant: TuningVariant) -> bool:
        return variant.name in self._right

    @property
    def kinds(self) -> np.ndarray:
        """The kind of each question [questions]."""
        return self._kinds

    def right(self, variant: TuningVariant) -> np.ndarray:
        """Answers right [seeds, questions]."""
        return self._right[variant.name]

    def points(self, better: TuningVariant, worse: TuningVariant) -> Interval:
        """By how many points of the share of right answers one variant is ahead of another."""
        return bootstrap(100 * (self.right(better) - self.right(worse)))


def in_points(gain: Interval) -> str:
    """A difference with its 95 % interval."""
    return f"{gain.mean:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]"


def in_percent(share: Interval) -> str:
    """A share of right answers, given in percent, with its 95 % interval."""
    return f"{share.mean:.1f} [{share.low:.1f}, {share.high:.1f}]"
