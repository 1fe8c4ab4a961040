"""A benchmark's own measures beside accuracy, and errors of a mean whose rows are no independent samples."""

from __future__ import annotations

import math
from collections.abc import Iterable

COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
NEEDED = {
    "mme": {"question_id"},
    "pope": {"said", "right"},
    "hallusionbench": {"cluster", "figure_id", "question_id"},
    "crpe": {"cluster"},
    "crpe_exist": {"cluster"},
}
CIRCULAR = ("crpe", "crpe_exist")
ORDERS = 4  # of a question's options
Samples = list[dict]  # lmms-eval's samples in the order of their rows: `acc`, and `clustered` as `scoring` gives it


def mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def cluster_error(name: str, samples: Samples) -> float | None:
    """Standard error of the mean accuracy over clusters of rows (Liang and Zeger, 1986, with the C / (C - 1)
    correction). None where the rows have no clusters, or one.
    """
    if not samples or any("cluster" not in sample["clustered"] for sample in samples):
        return None
    centre = mean(sample["acc"] for sample in samples)
    sums = [sum(sample["acc"] - centre for sample in cluster) for cluster in _clusters(name, samples)]
    if len(sums) < 2:
        return None
    spread = sum(value**2 for value in sums) * len(sums) / (len(sums) - 1)
    return math.sqrt(spread) / len(samples)


def _clusters(name: str, samples: Samples) -> list[Samples]:
    if name in CIRCULAR:
        return circular_questions(samples)
    return list(_grouped(samples, lambda sample: sample["clustered"]["cluster"]).values())


def circular_questions(samples: Samples) -> list[Samples]:
    """CRPE's questions, each in all orders of its options: in a category, four rows in a row with one text and one set
    of options. A part of a question, at the edge of a limited run, is a group of its own with fewer rows.
    """
    groups: list[Samples] = []
    for part in _grouped(samples, lambda sample: sample["clustered"]["parts"].get("category", "")).values():
        last: Samples = []
        for sample in part:
            same = last and last[-1]["clustered"]["cluster"] == sample["clustered"]["cluster"]
            if not same or len(last) == ORDERS:
                last = []
                groups.append(last)
            last.append(sample)
    return groups


def by_part(samples: Samples) -> dict[str, dict[str, dict]]:
    """By field and value: accuracy and number of rows."""
    found: dict[str, dict[str, list[float]]] = {}
    for sample in samples:
        for part, value in sample["clustered"]["parts"].items():
            found.setdefault(part, {}).setdefault(value, []).append(sample["acc"])
    return {
        part: {value: {"accuracy": mean(scores), "rows": len(scores)} for value, scores in sorted(values.items())}
        for part, values in found.items()
    }


def measures(name: str, samples: Samples) -> dict[str, float]:
    """What a benchmark's own authors report beside accuracy; shares from 0 to 1, MME's scores in its points."""
    if not all(each.keys() >= NEEDED.get(name, set()) for each in (sample["clustered"] for sample in samples)):
        return {}
    own = {"mme": mme_points, "pope": pope_measures, "hallusionbench": hallusionbench_measures}
    if name in CIRCULAR:
        return crpe_measures(samples)
    return own[name](samples) if name in own else {}


def mme_points(samples: Samples) -> dict[str, float]:
    """Perception (at most 2000) and cognition (800): by category, percent of questions plus percent of images with both
    questions right.
    """
    points = {"perception": 0.0, "cognition": 0.0}
    for category, part in _grouped(samples, lambda sample: sample["clustered"]["parts"]["category"]).items():
        images = _grouped(part, lambda sample: sample["clustered"]["question_id"])
        both = mean(float(all(sample["acc"] for sample in pair)) for pair in images.values())
        kind = "cognition" if category in COGNITION else "perception"
        points[kind] += 100 * mean(sample["acc"] for sample in part) + 100 * both
    return points


def pope_measures(samples: Samples) -> dict[str, float]:
    """Precision, recall and F1 of yes, and the share of replies that say yes; an unclear reply says no yes."""
    said = [sample["clustered"]["said"] == "yes" for sample in samples]
    right = [sample["clustered"]["right"] == "yes" for sample in samples]
    hits = sum(s and r for s, r in zip(said, right))
    precision = hits / sum(said) if any(said) else 0.0
    recall = hits / sum(right) if any(right) else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    unclear = mean(float(sample["clustered"]["said"] is None) for sample in samples)
    return {"precision": precision, "recall": recall, "F1": f1, "yes share": mean(said), "unclear": unclear}


def hallusionbench_measures(samples: Samples) -> dict[str, float]:
    """aAcc over questions, fAcc over figures with all questions right, qAcc over questions right on all figures."""

    def all_right(*names: str) -> float:
        groups = _grouped(
            samples, lambda each: (each["clustered"]["cluster"], *(each["clustered"][name] for name in names))
        )
        return mean(float(all(sample["acc"] for sample in group)) for group in groups.values())

    plain = mean(sample["acc"] for sample in samples)
    return {"aAcc": plain, "qAcc": all_right("question_id"), "fAcc": all_right("figure_id")}


def crpe_measures(samples: Samples) -> dict[str, float]:
    """Plain accuracy, and circular as CRPE's authors score it: the share of questions that are right in every order of
    their options. Questions of which some orders are missing count for the plain one alone.
    """
    whole = [group for group in circular_questions(samples) if len(group) == ORDERS]
    found = {"plain": mean(sample["acc"] for sample in samples)}
    if whole:
        found["circular"] = mean(float(all(sample["acc"] for sample in group)) for group in whole)
    return {**found, "questions": float(len(whole))}


def _grouped(samples: Samples, key) -> dict[str, Samples]:
    groups: dict[str, Samples] = {}
    for sample in samples:
        groups.setdefault(str(key(sample)), []).append(sample)
    return groups
