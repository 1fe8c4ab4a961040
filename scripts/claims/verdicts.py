"""The eight questions: what each needs, and the sentence that follows from a run's own figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scripts.claims.comparison import FAILS, HOLDS, OPEN, Results, all_of, better, bootstrap, no_difference, no_worse
from scripts.claims.plan import ENCODERS, SHIPPED

TUNED_ON = 256


@dataclass(frozen=True)
class Answer:
    """One verdict and why; `claim` is what is put to the test."""

    question: str
    claim: str
    verdict: str
    sentence: str


@dataclass(frozen=True)
class Question:
    """What needs which variants; `answer` is called where all of them were run."""

    title: str
    needs: tuple[str, ...]
    answer: Callable[[Results], tuple[str, str, str]]  # claim, verdict, sentence


def answer_all(results: Results) -> list[Answer]:
    """The questions in their order; one whose variants were not all run cannot be told."""
    answers = []
    for question in QUESTIONS:
        missing = [name for name in question.needs if name not in results]
        failed = [name for name in question.needs if not missing and results.untrained(name)]
        if missing:
            answers.append(Answer(question.title, "", OPEN, f"Not run: {', '.join(missing)}."))
            continue
        claim, verdict, sentence = question.answer(results)
        if failed:
            verdict, sentence = OPEN, f"{sentence} Did not train, so not ranked: {', '.join(failed)}."
        answers.append(Answer(question.title, claim, verdict, sentence))
    return answers


def _order(r: Results):
    links, said = [], []
    margin = r.margin()
    for worse, name, strict in (
        ("none", "mean_shift", True),
        ("mean_shift", "c3", False),
        ("c3", "realign", True),
        ("realign", "aniso", True),
    ):
        gain = r.gain(name, over=worse)
        links.append(better(gain) if strict else no_worse(gain, margin))
        said.append(f"{name} over {worse} {gain} ({links[-1]})")
    sentence = f"Nats a token won: {'; '.join(said)}."
    if "bc" in r:
        where = f"{r.gain('bc', over='none')} over none, {r.gain('bc', over='realign')} over realign"
        sentence += f" bc: {where}{', but it did not train' if r.untrained('bc') else ''}."
    return f"none < mean shift <= C3 < ReAlign < AnisoAlign (<= within {margin:.3f} nats)", all_of(links), sentence


def _scaling(r: Results):
    gain = r.gain("2x text", over="paired")
    more = f"; four times {r.gain('4x text', over='paired')}" if "4x text" in r else ""
    return (
        "twice the text beats pairs at equal steps",
        better(gain),
        f"Over pairs, once the text wins {r.gain('realign', over='paired')} nats a token, twice {gain}{more}.",
    )


def _noise(r: Results):
    present = [name for name in ("mean_shift", "c3", "c3 0.05", "c3 0.1") if name in r]
    gains = [r.gain(name, over=before) for before, name in zip(present, present[1:])]
    total_gain = r.gain(present[-1], over=present[0])
    verdict = OPEN
    if any(gain.low > 0 for gain in gains):
        verdict = FAILS  # more noise helped somewhere
    elif better(total_gain) == FAILS:
        verdict = HOLDS
    steps = "; ".join(f"{name} over {before} {gain}" for before, name, gain in zip(present, present[1:], gains))
    return "C3 gets worse as its noise grows", verdict, f"Nats a token won: {steps}."


def _captions(r: Results):
    gain, lost = r.gain("realign", over="long captions"), r.gain("realign", over="short captions")
    said = f"Nats a token won by concise captions: {gain} over long ones, {lost} over those that name objects alone."
    full, long = (r.accuracy(n, TUNED_ON) for n in ("realign", "long captions"))
    if full is not None and long is not None:
        said += (
            f" Share of questions right after Stage 2 on {TUNED_ON} images: {bootstrap(full - long)} over long ones."
        )
    said += (
        f" Raw gap: short {r.geometry('short captions', 'gap_before'):.3f}, concise "
        f"{r.geometry('realign', 'gap_before'):.3f}, "
        f"long {r.geometry('long captions', 'gap_before'):.3f}."
    )
    return "concise captions pretrain better than long ones that say no more", better(gain), said


def _domain(r: Results):
    lost = r.gain("realign", over="other world")
    said = f"Statistics of this world win {lost} nats a token over the other's"
    if "other images" in r:
        said += f", {r.gain('realign', over='other images')} over this world's texts with the other's images"
    left = r.gain("other world", over="none")
    return (
        "statistics from another world hurt",
        better(lost),
        f"{said}; the other's still win {left} over no alignment.",
    )


def _tokens(r: Results):
    present = [name for name in ("realign", "16 tokens", "64 tokens") if name in r]
    gain = r.gain(present[-1], over="realign")
    said = [
        f"{name}: {r.gain(name, over='realign')} nats a token over one, "
        f"{r.seconds(name, 'stage 1') / r.seconds('realign', 'stage 1'):.1f} x the time of Stage 1"
        for name in present[1:]
    ]
    return "more visual tokens, copies of one embedding, lower the loss", better(gain), f"{'; '.join(said)}."


def _statistics(r: Results):
    margin, parts, said = r.margin(), [], []
    for name, over in (("5 rounds", "one round"), ("24000 rows", "10000")):
        if name in r:
            gain = r.gain(name, over="realign")
            parts.append(no_difference(gain, margin))
            said.append(f"{name} over {over} {gain}")
    few = f" 100 rows over 10000: {r.gain('100 rows', over='realign')}." if "100 rows" in r else ""
    claim = f"more than one centroid round, or than 10000 rows, changes nothing downstream (within {margin:.3f} nats)"
    return claim, all_of(parts), f"Nats a token won: {'; '.join(said)}.{few}"


def benefits(r: Results) -> list[tuple[str, float, object]]:
    """(encoder, its raw centroid gap, what ReAlign wins over no alignment), by rising gap."""
    rows = []
    for encoder in ENCODERS:
        suffix = "" if encoder == SHIPPED else f", {encoder}"
        if f"none{suffix}" in r and f"realign{suffix}" in r:
            gain = r.gain(f"realign{suffix}", over=f"none{suffix}")
            rows.append((encoder, r.geometry(f"none{suffix}", "gap_before"), gain))
    return sorted(rows, key=lambda row: row[1])


def _gaps(r: Results):
    rows, parts = benefits(r), []
    for (small, _, _), (large, _, _) in zip(rows, rows[1:]):
        difference = bootstrap(_won(r, large) - _won(r, small))
        parts.append(better(difference))
    said = "; ".join(f"{encoder} (gap {gap:.2f}): {gain}" for encoder, gap, gain in rows)
    return "the larger the gap, the more alignment wins", all_of(parts), f"ReAlign over none, nats a token, {said}."


def _won(r: Results, encoder: str):
    suffix = "" if encoder == SHIPPED else f", {encoder}"
    return r.nll(f"none{suffix}") - r.nll(f"realign{suffix}")


QUESTIONS = [
    Question("Which aligner?", ("none", "mean_shift", "c3", "realign", "aniso", "paired", "shuffled"), _order),
    Question("Twice the text or pairs?", ("realign", "2x text", "paired"), _scaling),
    Question("Does C3's noise hurt?", ("mean_shift", "c3", "c3 0.1"), _noise),
    Question("Short or long captions?", ("realign", "short captions", "long captions"), _captions),
    Question("Statistics of another domain?", ("none", "realign", "other world"), _domain),
    Question("How many visual tokens?", ("realign", "16 tokens"), _tokens),
    Question("More rounds, more rows?", ("none", "realign", "paired", "5 rounds", "100 rows"), _statistics),
    Question(
        "How large must the gap be?",
        tuple(f"{n}, {e}" for e in ENCODERS if e != SHIPPED for n in ("none", "realign")),
        _gaps,
    ),
]
