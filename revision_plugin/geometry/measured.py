"""What is measured: numbers by cloud and metric, why a number is missing, and what the pictures draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from ..errors import NotMeasurable

TARGET, SOURCE = "target", "source"


@dataclass
class Numbers:
    """Numbers of several things (clouds, frames) by name, and why one is missing."""

    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)

    def skip(self, thing: str, names: tuple[str, ...], reason: str) -> None:
        """Keep why these numbers are missing."""
        self.skipped.setdefault(thing, {}).update(dict.fromkeys(names, reason))

    def note(self, thing: str, names: str | tuple[str, ...], value: Callable) -> None:
        """Keep what `value()` gives under one name or several; where it is not measurable, keep why."""
        metric_names = names if isinstance(names, tuple) else (names,)
        try:
            result = value()
        except NotMeasurable as error:
            self.skip(thing, metric_names, str(error))
            return
        values = result if isinstance(names, tuple) else (result,)
        self.metrics.setdefault(thing, {}).update(zip(metric_names, map(float, values), strict=True))

    def cell(self, thing: str, metric: str) -> str:
        """A number as a report's table shows it: empty where nothing was to be measured."""
        if metric in self.skipped.get(thing, {}):
            return "not measured"
        return shown(self.metrics.get(thing, {}).get(metric))


def shown(number: float | None) -> str:
    """A number with four digits; nothing for None."""
    return "" if number is None else f"{number:.4g}"


def missing(skipped: Iterable[tuple[str, dict[str, str]]], *, separator: str = ", ") -> list[str]:
    """What is missing, a line a reason, from (where, reasons by metric)."""
    reasons: dict[str, list[str]] = {}
    for where, metrics in skipped:
        for metric, reason in metrics.items():
            reasons.setdefault(reason, []).append(f"{where}: {metric}")
    return [f"{reason} ({separator.join(places)})" for reason, places in reasons.items()]


def not_measured(skipped: Iterable[tuple[str, dict[str, str]]], *, separator: str = ", ") -> list[str]:
    """A report's section on what is missing; no section for none."""
    lines = missing(skipped, separator=separator)
    return ["## Not measured", "\n".join(f"- {line}" for line in lines)] if lines else []


@dataclass
class Geometry(Numbers):
    """All numbers of one report; those of `sweep` are the raw pairs' in frames of several energies, by energy."""

    settings: dict = field(default_factory=dict)
    methods: dict[str, str] = field(default_factory=dict)  # cloud -> aligner's method
    sweep: Numbers = field(default_factory=Numbers)
    spectra: dict[str, np.ndarray] = field(default_factory=dict)  # eigenvalues, falling
    eigenvectors: dict[str, np.ndarray] = field(default_factory=dict)  # [d, d], one a column
    overlaps: dict[str, dict[int, float]] = field(default_factory=dict)  # O_q
    residual_energy: dict[str, np.ndarray] = field(default_factory=dict)  # E(K)
    cosines: dict[str, np.ndarray] = field(default_factory=dict)  # of random pairs of rows
    samples: dict[str, np.ndarray] = field(default_factory=dict)  # unit-norm rows [n, d]
    # where the samples of the source and of the target stand in their stores, [n]
    positions: dict[str, np.ndarray] = field(default_factory=dict)
