"""How each claim about Stage 1 is judged: its parts, with the papers' figures and ours, and one sentence why."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.claims.comparison import (
    FAILS,
    HOLDS,
    OPEN,
    Interval,
    Results,
    better,
    bootstrap,
    no_difference,
    no_worse,
)
from scripts.claims.plan import ENCODERS, OTHER, UNEQUAL, cell

SEPARATED = 3.0  # half widths of the 95 % interval: by less than this two methods are not held apart
EQUAL_TRACES = 0.03  # of the larger one: with traces nearer than this ReAlign is a mean shift
MARGIN = 0.05  # of what pairs win over no alignment: a smaller difference is none
WANTED_SHARE = 0.6  # of what pairs win over ReAlign


@dataclass(frozen=True)
class Part:
    """One comparison of a claim: what, the papers' figure, ours and its verdict."""

    what: str
    papers: str
    here: str
    verdict: str


Judgement = tuple[list[Part], str]


def margin(r: Results, encoder: str) -> float:
    """Nats a token that count as no difference."""
    return MARGIN * abs(r.gain(cell("paired", encoder), over=cell("none", encoder)).mean)


def half_widths(gain: Interval) -> float:
    """A difference in half widths of its interval."""
    half = (gain.high - gain.low) / 2
    return abs(gain.mean) / half if half else float("inf")


def _compared(r: Results, encoder: str, order: list[tuple[str, str, str]]) -> list[Part]:
    """Parts 'second better than first' for (first, second, the papers' figures)."""
    parts = []
    for worse, name, papers in order:
        gain = r.gain(cell(name, encoder), over=cell(worse, encoder))
        parts.append(Part(f"{encoder}: {name} over {worse}", papers, f"{gain} nats", better(gain)))
    return parts


ORDER = [
    ("none", "mean_shift", "40.08 < 42.57 [A]"),
    ("none", "realign", "47.50 < 50.16"),
    ("c3", "realign", "48.06 < 50.16"),
    ("mean_shift", "realign", "42.57 < 45.00 [A]"),
    ("bc", "realign", "48.74 < 50.16"),
    ("realign", "aniso", "50.16 < 51.59 [A]"),
]


def order(r: Results) -> Judgement:
    parts = [part for encoder in ENCODERS for part in _compared(r, encoder, ORDER)]
    return parts, " ".join(_traces(r, encoder) for encoder in ENCODERS)


def _traces(r: Results, encoder: str) -> str:
    name = cell("none", encoder)
    text, image = r.geometry(name, "text_trace"), r.geometry(name, "image_trace")
    nearly = abs(text - image) < EQUAL_TRACES * max(text, image)
    what = "are nearly equal, so ReAlign is nearly a mean shift" if nearly else "differ, so ReAlign also scales"
    return f"At {encoder} the traces of texts ({text:.3f}) and images ({image:.3f}) {what}."


def monge(r: Results) -> Judgement:
    parts = []
    for encoder in ENCODERS:
        gain = r.gain(cell("monge", encoder), over=cell("realign", encoder))
        tie = HOLDS if gain.high > 0 else FAILS
        parts.append(Part(f"{encoder}: monge over realign", "-", f"{gain} nats", tie))
        share = r.share_of_pairs(cell("monge", encoder), encoder)
        verdict = HOLDS if share.low > WANTED_SHARE else FAILS if share.high < WANTED_SHARE else OPEN
        said = f"{share.mean:.0%} [{share.low:.0%}, {share.high:.0%}]"
        parts.append(Part(f"{encoder}: share of what pairs win over realign", "-", said, verdict))
    return parts, "Where covariances differ in more than their traces, one scale cannot match them and a matrix can."


def separated(r: Results) -> Judgement:
    ladder = ["none", "mean_shift", "realign", "monge", "paired"]
    parts = []
    for encoder in ENCODERS:
        for worse, name in zip(ladder, ladder[1:]):
            gain = r.gain(cell(name, encoder), over=cell(worse, encoder))
            apart = half_widths(gain)
            verdict = HOLDS if gain.low > 0 and apart > SEPARATED else FAILS if gain.high < 0 else OPEN
            here = f"{gain} nats, {apart:.1f} half widths"
            parts.append(Part(f"{encoder}: {name} apart from {worse}", "-", here, verdict))
    apart = [encoder for encoder in ENCODERS if all(p.verdict == HOLDS for p in parts if p.what.startswith(encoder))]
    return parts, f"All five lie apart at: {', '.join(apart) or 'no encoder'}."


def content(r: Results) -> Judgement:
    parts = []
    for encoder in ENCODERS:
        lost = {}
        for method in ("mean_shift", "realign", "monge"):
            same, other = (cell(method, encoder, content=shown) for shown in ("same", OTHER))
            lost[method] = r.nll(other) - r.nll(same)
            gain = bootstrap(lost[method])
            parts.append(Part(f"{encoder}: {method}, same content over other", "-", f"{gain} nats", better(gain)))
        more = bootstrap(lost["monge"] - lost["realign"])
        parts.append(Part(f"{encoder}: monge loses more than realign", "-", f"{more} nats", better(more)))
        for method in ("realign", "monge"):
            gain = r.gain(*(cell(each, encoder, content=OTHER) for each in (f"{method} on matches", method)))
            said = f"{encoder}: other content, {method} on the encoder's matches over {method} on all rows"
            parts.append(Part(said, "-", f"{gain} nats", better(gain)))
        names = (cell(each, encoder, content=OTHER) for each in ("monge shrunk .9", "realign"))
        gain = r.gain(*names)
        verdict = no_worse(gain, margin(r, encoder))
        parts.append(
            Part(f"{encoder}: other content, monge shrunk .9 no worse than realign", "-", f"{gain} nats", verdict)
        )
    return parts, "A map that copies covariances copies a difference of content, too; a mean copies its part of it."


def gaps(r: Results) -> Judgement:
    def gap(encoder: str) -> float:
        return r.geometry(cell("none", encoder), "gap_before")

    def won(encoder: str):
        return r.nll(cell("none", encoder)) - r.nll(cell("realign", encoder))

    rising, parts = sorted(ENCODERS, key=gap), []
    for less, more in zip(rising, rising[1:]):
        gain = bootstrap(won(more) - won(less))
        what = f"ReAlign over none, at {more} (gap {gap(more):.2f}) over at {less} (gap {gap(less):.2f})"
        parts.append(Part(what, "-", f"{gain} nats", better(gain)))
    return parts, "Without alignment a projector that was trained on texts sees images from far outside of them."


def steps(r: Results) -> Judgement:
    whole, two = cell("realign", UNEQUAL), "realign, steps 1 and 2"
    gains = [
        ("step 1 over none", "46.68 < 47.50", r.gain(cell("mean_shift", UNEQUAL), over=cell("none", UNEQUAL)), False),
        ("steps 1 and 2 over step 1", "46.68 < 48.67", r.gain(two, over=cell("mean_shift", UNEQUAL)), True),
        ("all three over steps 1 and 2", "48.67 < 50.16", r.gain(whole, over=two), True),
    ]
    parts = []
    for what, papers, gain, rises in gains:
        verdict = better(gain)
        if not rises:  # in the paper step 1 alone lost
            verdict = {HOLDS: FAILS, FAILS: HOLDS, OPEN: OPEN}[verdict]
        parts.append(Part(what, papers, f"{gain} nats", verdict))
    left = r.geometry(two, "gap"), r.geometry(whole, "gap")
    return parts, f"Step 3 moves the held-out gap from {left[0]:.4f} to {left[1]:.4f}."


def aniso(r: Results) -> Judgement:
    first, whole = "aniso, initialisation", cell("aniso", UNEQUAL)
    pairs = [
        ("with L_II over the initialisation", "43.59 < 46.56 [A]", "aniso, prior alone", first),
        ("with L_Phi over the initialisation", "43.59 < 46.45 [A]", "aniso, phases alone", first),
        ("with both over the initialisation", "43.59 < 47.49 [A]", whole, first),
        ("full bounds over the initialisation", "43.59 < 47.49 [A]", "aniso, full bounds", first),
    ]
    parts = []
    for what, papers, name, over in pairs:
        gain = r.gain(name, over=over)
        parts.append(Part(what, papers, f"{gain} nats", better(gain)))
    return parts, "The refinement follows its prior, which knows little here."


def noise(r: Results) -> Judgement:
    present = [cell("mean_shift", UNEQUAL), cell("c3", UNEQUAL), "c3 0.1"]
    parts = []
    for before, name in zip(present, present[1:]):
        gain = r.gain(before, over=name)
        parts.append(Part(f"{before} over {name}", "-", f"{gain} nats", better(gain)))
    return parts, "The noise is as large in directions where images hardly vary as in those where they do."


def amount(r: Results) -> Judgement:
    paired, once, parts = cell("paired", UNEQUAL), cell("realign", UNEQUAL), []
    for what, papers, better_one, over in (
        ("pairs over as many texts, ReAlign", "48.05 < 48.91", paired, once),
        ("twice the text over pairs, ReAlign", "48.91 < 49.80", "realign, 2x text", paired),
        ("four times the text over pairs, ReAlign", "-", "realign, 4x text", paired),
        ("pairs over as many texts, monge", "-", paired, cell("monge", UNEQUAL)),
    ):
        gain = r.gain(better_one, over=over)
        parts.append(Part(what, papers, f"{gain} nats", better(gain)))
    more = r.gain("realign, 4x text", over=once)
    return parts, f"Four times the text in four times the steps wins {more} nats over once; the map's error stays."


def statistics(r: Results) -> Judgement:
    near, parts = margin(r, UNEQUAL), []
    for what, name, over in (
        ("5 rounds over one", "realign, 5 rounds", cell("realign", UNEQUAL)),
        ("all rows over 500, realign", cell("realign", UNEQUAL), "realign, 500 rows"),
        ("all rows over 500, monge", cell("monge", UNEQUAL), "monge, 500 rows"),
    ):
        gain = r.gain(name, over=over)
        parts.append(Part(what, "flat from 10,000", f"{gain} nats", no_difference(gain, near)))
    return parts, f"Differences within {near:.3f} nats, {MARGIN:.0%} of what pairs win over none, count as none."


def large(r: Results) -> Judgement:
    parts = []
    for worse, name, papers in (
        ("none", "mean_shift", "40.08 < 42.57 [A]"),
        ("mean_shift", "realign", "42.57 < 45.00 [A]"),
        ("realign", "monge", "-"),
        ("realign", "paired", "48.05 < 48.91"),
    ):
        gain = r.gain(f"{name}, SmolLM2", over=f"{worse}, SmolLM2")
        parts.append(Part(f"{name} over {worse}", papers, f"{gain} nats", better(gain)))
    return parts, "A language model of 135 million parameters that was never trained on this world's text."
