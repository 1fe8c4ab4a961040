"""Paired differences between variants, their bootstrap intervals over seeds and scenes, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from scripts.claims.plan import BY_NAME, cell

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot tell here"
ROUNDS = 4000
TRAINED = 0.5


@dataclass(frozen=True)
class Interval:
    """A mean difference with its 95 % interval, and the mean of each seed."""

    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def bootstrap(differences: np.ndarray, *, rounds: int = ROUNDS, seed: int = 0) -> Interval:
    """Percentile interval of the mean of `differences` [seeds, scenes], seeds and scenes both drawn with replacement.

    The percentiles of few seeds are too narrow, so the seeds' deviations are first stretched to what Student's t needs
    (Hesterberg, arXiv 1411.5279, expanded percentile interval). Raises ValueError for fewer than two seeds.
    """
    seeds, scenes = differences.shape
    if seeds < 2:
        raise ValueError("an interval over seeds needs at least two")
    by_seed = differences.mean(1)
    stretch = math.sqrt(seeds / (seeds - 1)) * t.ppf(0.975, seeds - 1) / norm.ppf(0.975)
    stretched = differences + (stretch - 1) * (by_seed - by_seed.mean())[:, None]
    rng = np.random.default_rng(seed)
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=rounds) / seeds
    drawn_scenes = rng.multinomial(scenes, np.full(scenes, 1 / scenes), size=rounds) / scenes
    means = np.einsum("bs,sn,bn->b", drawn_seeds, stretched, drawn_scenes, optimize=True)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(differences.mean()), float(low), float(high), tuple(by_seed.tolist()))


def better(gain: Interval) -> str:
    """Verdict on 'B is better than A', from how much better it is."""
    return HOLDS if gain.low > 0 else FAILS if gain.high < 0 else OPEN


def no_worse(gain: Interval, margin: float) -> str:
    """Verdict on 'B is no worse than A by more than `margin`'."""
    return HOLDS if gain.low > -margin else FAILS if gain.high < -margin else OPEN


def no_difference(gain: Interval, margin: float) -> str:
    """Verdict on 'B and A differ by no more than `margin`'."""
    if -margin < gain.low and gain.high < margin:
        return HOLDS
    return FAILS if gain.low > margin or gain.high < -margin else OPEN


def all_of(verdicts: Iterable[str]) -> str:
    """A claim of several parts holds if all do, and does not if one does not."""
    verdicts = list(verdicts)
    return FAILS if FAILS in verdicts else OPEN if OPEN in verdicts else HOLDS


class Results:
    """All trainings of a run by variant; arrays are [seeds, scenes] in the same order of both everywhere."""

    def __init__(self, records: list[dict]):
        self._by_name: dict[str, list[dict]] = {}
        for record in records:
            self._by_name.setdefault(record["variant"], []).append(record)
        for rows in self._by_name.values():
            rows.sort(key=lambda record: record["seed"])

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    @property
    def names(self) -> list[str]:
        """The variants in the plan's order."""
        return [name for name in BY_NAME if name in self._by_name]

    def of(self, name: str) -> list[dict]:
        """The variant's records, by seed."""
        return self._by_name[name]

    def nll(self, name: str, condition: str = "image") -> np.ndarray:
        """Negative log-likelihood of held-out captions, nats a token [seeds, scenes]; a variant without text of its own
        reconstructs from images.
        """
        records = self._by_name[name]
        return np.array([r["nll"].get(condition, r["nll"]["image"]) for r in records], np.float64)

    def right(self, name: str, fact: str | None = None) -> np.ndarray:
        """Whether the true caption was the likeliest of four [seeds, choices], of those about `fact` alone."""
        records = self._by_name[name]
        chosen = [i for i, each in enumerate(records[0]["facts"]) if fact in (None, each)]
        return np.array([record["right"] for record in records], np.float64)[:, chosen]

    def geometry(self, name: str, key: str) -> float:
        """Mean over the seeds."""
        return float(np.mean([record["geometry"][key] for record in self._by_name[name]]))

    def seconds(self, name: str, key: str) -> float:
        """Median over the seeds: a process' first training loads the libraries too."""
        return float(np.median([record["seconds"][key] for record in self._by_name[name]]))

    def untrained(self, name: str) -> int:
        """In how many seeds the training failed its own reconstruction.

        It did where a caption is likelier given its own embedding than given another scene's by less than `TRAINED` of
        what it is after the same training on pairs.
        """
        variant = BY_NAME[name]
        bound = "paired, SmolLM2" if variant.large else cell("paired", variant.encoder)
        if variant.rows == "shuffled" or bound not in self:
            return 0
        told = (self.nll(name, "another") - self.nll(name, "own")).mean(1)
        return int((told < TRAINED * (self.nll(bound, "another") - self.nll(bound, "own")).mean()).sum())

    def gain(self, name: str, over: str) -> Interval:
        """By how much captions are likelier given real images after `name` than after `over`, nats a token."""
        return bootstrap(self.nll(over) - self.nll(name))

    def chosen_better(self, name: str, over: str) -> Interval:
        """By how many points more choices among hard distractors are right after `name` than after `over`."""
        return bootstrap(100 * (self.right(name) - self.right(over)))

    def share_of_pairs(self, name: str, encoder: str) -> Interval:
        """Which share of what pairs win over ReAlign `name` wins, by seed; the interval is over seeds and scenes."""
        realign, paired = self.nll(cell("realign", encoder)), self.nll(cell("paired", encoder))
        return ratio(realign - self.nll(name), realign - paired)


def ratio(part: np.ndarray, whole: np.ndarray, *, rounds: int = ROUNDS, seed: int = 0) -> Interval:
    """Percentile interval of mean(part) / mean(whole), both [seeds, scenes] and drawn together as `bootstrap` draws."""
    seeds, scenes = part.shape
    rng = np.random.default_rng(seed)
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=rounds) / seeds
    drawn_scenes = rng.multinomial(scenes, np.full(scenes, 1 / scenes), size=rounds) / scenes
    parts, wholes = (np.einsum("bs,sn,bn->b", drawn_seeds, x, drawn_scenes, optimize=True) for x in (part, whole))
    low, high = np.percentile(parts / wholes, [2.5, 97.5])
    return Interval(float(part.mean() / whole.mean()), float(low), float(high), tuple(part.mean(1) / whole.mean(1)))
