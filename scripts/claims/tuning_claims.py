"""Part two's claims: which variants each compares, and what the papers print for it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from revision_plugin.evaluation.published import tables
from scripts.claims.comparison import OPEN, Interval, better, bootstrap
from scripts.claims.tuning_plan import (
    BY_SHARE,
    FIVE_VECTORS,
    ON_IMAGES,
    ON_TEXTS,
    PAIRED,
    WITH_VIEWS,
    WITHOUT,
    TuningVariant,
)
from scripts.claims.tuning_results import TuningResults

# tables of `evaluation/published.json`, as the papers print them: averages over eleven benchmarks, in percent
WITHOUT_STAGE_1, BY_DATA = "revision-6", "revision-7"
TEXT_ONLY, THEN_IMAGES = "anisoalign-1", "anisoalign-2"
FAR = "far below: by more than AnisoAlign wins over no alignment"


@dataclass(frozen=True)
class Figure:
    """The averages that a paper prints for two rows of one of its tables, in percent."""

    table: str
    better: str
    worse: str

    @property
    def averages(self) -> tuple[float, float]:
        rows = tables()[self.table]["rows"]
        return rows[self.better]["average"], rows[self.worse]["average"]

    def __str__(self) -> str:
        high, low = self.averages
        return f"{high - low:+.2f} ({low:.2f} to {high:.2f}; {tables()[self.table]['source']})"


@dataclass(frozen=True)
class Comparison:
    """One part of a claim: `better` answers more questions than `worse`; `figure` is None where no paper has one."""

    better: TuningVariant
    worse: TuningVariant
    figure: Figure | None = None


@dataclass(frozen=True)
class Claim:
    """What is said, the variants that it needs, and the function that judges it once all of them are there."""

    text: str
    needs: tuple[TuningVariant, ...]
    judge: Callable[[TuningResults], list[tuple[str, str, Interval, str]]]
    why: str  # what the sentence begins with


def _compare(r: TuningResults, comparisons: list[Comparison]) -> list[tuple[str, str, Interval, str]]:
    """(what, the papers', here, verdict) of each comparison."""
    parts = []
    for each in comparisons:
        gain = r.points(each.better, each.worse)
        what = f"{each.better.name} over {each.worse.name}"
        parts.append((what, "-" if each.figure is None else str(each.figure), gain, better(gain)))
    return parts


def _claim(text: str, why: str, comparisons: list[Comparison]) -> Claim:
    needs = tuple(dict.fromkeys(v for each in comparisons for v in (each.better, each.worse)))
    return Claim(text, needs, lambda r: _compare(r, comparisons), why)


def _variants(of: list[TuningVariant]) -> dict[str, TuningVariant]:
    return {variant.stage1: variant for variant in of if not variant.blind}


def _blind_far_below(r: TuningResults) -> list[tuple[str, str, Interval, str]]:
    blind, seeing = ON_TEXTS[0], _variants(ON_TEXTS)
    below = r.right(seeing["none"]) - r.right(blind)
    won = r.right(seeing["aniso"]) - r.right(seeing["none"])
    further = bootstrap(100 * (below - won))
    figure = Figure(TEXT_ONLY, "W/o Align", "Blind")
    high, low = figure.averages
    paper = high - low - (tables()[TEXT_ONLY]["rows"]["AnisoAlign"]["average"] - high)
    below_points = bootstrap(100 * below)
    return [
        (f"{seeing['none'].name} over {blind.name}", str(figure), below_points, better(below_points)),
        ("that, less what aniso wins over none", f"{paper:+.2f}", further, better(further)),
    ]


def _order_stays(r: TuningResults) -> list[tuple[str, str, Interval, str]]:
    """For each two aligners that differ with one vector, whether the same one is ahead with five."""
    one, five = _variants(ON_IMAGES), _variants(WITH_VIEWS)
    parts = []
    for first, second in itertools.combinations([name for name in five if name != WITHOUT], 2):
        gain = r.points(one[first], one[second])
        if better(gain) == OPEN:
            continue
        ahead, behind = (first, second) if gain.mean > 0 else (second, first)
        gain = r.points(five[ahead], five[behind])
        parts.append((f"{ahead} over {behind}, five vectors", "-", gain, better(gain)))
    return parts


_IMAGES, _TEXTS, _VIEWS = _variants(ON_IMAGES), _variants(ON_TEXTS), _variants(WITH_VIEWS)
SECTIONS: list[tuple[str, str, list[TuningVariant], list[Claim]]] = [
    (
        "Stage 1, then instruction tuning on real images",
        f"Rows name what Stage 1 was trained on. `{PAIRED}` is the upper bound: the real images of the same texts.",
        ON_IMAGES,
        [
            _claim(
                "Stage 1 on text that ReAlign aligned beats Stage 1 on text as it is, and no Stage 1",
                "Points of the share of right answers won by ReAlign",
                [
                    Comparison(_IMAGES["realign"], _IMAGES["none"], Figure(THEN_IMAGES, "ReAlign", "W/o Align")),
                    Comparison(
                        _IMAGES["realign"], _IMAGES[WITHOUT], Figure(WITHOUT_STAGE_1, "ReVision", "w/o Stage 1")
                    ),
                ],
            ),
            _claim(
                "none < C3 < ReAlign < AnisoAlign, too, after instruction tuning on images",
                "Points won by each over the one before",
                [
                    Comparison(_IMAGES["c3"], _IMAGES["none"], Figure(THEN_IMAGES, "C3 Align", "W/o Align")),
                    Comparison(_IMAGES["realign"], _IMAGES["c3"], Figure(THEN_IMAGES, "ReAlign", "C3 Align")),
                    Comparison(_IMAGES["aniso"], _IMAGES["realign"], Figure(THEN_IMAGES, "AnisoAlign", "ReAlign")),
                ],
            ),
        ],
    ),
    (
        "How much instruction data?",
        "Stage 1 on text aligned by ReAlign; the share of the scenes whose questions Stage 2 reads once.",
        BY_SHARE,
        [
            _claim(
                "more instruction data helps",
                "Points won by each share over the one before",
                [
                    Comparison(BY_SHARE[1], BY_SHARE[0], Figure(BY_DATA, "60%", "30%")),
                    Comparison(BY_SHARE[2], BY_SHARE[1], Figure(BY_DATA, "100%", "60%")),
                ],
            )
        ],
    ),
    (
        "Both stages on text alone",
        "Stage 2 reads the questions with the embedded, aligned caption in place of the image; it is asked about real "
        "images. The blind row asks the ReAlign model the same questions without an image.",
        ON_TEXTS,
        [
            _claim(
                "no alignment < mean shift, C3 < ReAlign < AnisoAlign",
                "Points won",
                [
                    Comparison(_TEXTS["mean_shift"], _TEXTS["none"], Figure(TEXT_ONLY, "Unicorn", "W/o Align")),
                    Comparison(_TEXTS["c3"], _TEXTS["none"], Figure(TEXT_ONLY, "C3 Align", "W/o Align")),
                    Comparison(_TEXTS["realign"], _TEXTS["mean_shift"], Figure(TEXT_ONLY, "ReAlign", "Unicorn")),
                    Comparison(_TEXTS["realign"], _TEXTS["c3"], Figure(TEXT_ONLY, "ReAlign", "C3 Align")),
                    Comparison(_TEXTS["aniso"], _TEXTS["realign"], Figure(TEXT_ONLY, "AnisoAlign", "ReAlign")),
                ],
            ),
            Claim(
                f"a model without an image is far below all ({FAR})",
                (ON_TEXTS[0], _TEXTS["none"], _TEXTS["aniso"]),
                _blind_far_below,
                "Points won",
            ),
        ],
    ),
    (
        "Five vectors an image",
        f"Stage 1 on one vector, as above; Stage 2 and the questions on five (`{FIVE_VECTORS}`). The papers have no "
        "such run: their visual tokens are copies of one vector.",
        [*(v for v in ON_IMAGES if v.stage1 != PAIRED), *WITH_VIEWS],
        [
            _claim(
                "five vectors beat one, whatever Stage 1 was trained on",
                "Points won by five vectors",
                [Comparison(_VIEWS[stage1], _IMAGES[stage1]) for stage1 in _VIEWS],
            ),
            Claim(
                "the order of the aligners stays with five vectors",
                tuple(v for name in _VIEWS if name != WITHOUT for v in (_IMAGES[name], _VIEWS[name])),
                _order_stays,
                "Of aligners that differ with one vector, points won by the better one",
            ),
        ],
    ),
]
