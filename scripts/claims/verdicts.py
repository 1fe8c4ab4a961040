"""The claims about Stage 1, each with the papers' figure, ours, a verdict and one sentence why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scripts.claims import stage1_claims
from scripts.claims.comparison import OPEN, Results, all_of
from scripts.claims.plan import ENCODERS, OTHER, UNEQUAL, cell
from scripts.claims.stage1_claims import Judgement, Part


@dataclass(frozen=True)
class Answer:
    title: str
    claim: str
    verdict: str
    sentence: str
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Question:
    """What needs which variants; `answer` is called where all of them were run."""

    title: str
    claim: str
    needs: tuple[str, ...]
    answer: Callable[[Results], Judgement]


def answer_all(results: Results) -> list[Answer]:
    """The questions in their order; one whose variants were not all run cannot be told."""
    answers = []
    for question in QUESTIONS:
        missing = [name for name in question.needs if name not in results]
        if missing:
            answers.append(Answer(question.title, question.claim, OPEN, f"Not run: {'; '.join(missing)}."))
            continue
        parts, sentence = question.answer(results)
        failed = [name for name in question.needs if results.untrained(name)]
        if failed:
            sentence += f" Did not learn to reconstruct: {'; '.join(failed)}."
        verdict = all_of(part.verdict for part in parts)
        answers.append(Answer(question.title, question.claim, verdict, sentence, tuple(parts)))
    return answers


def _names(*methods: str, encoders=ENCODERS, content: str = "same") -> tuple[str, ...]:
    return tuple(cell(method, encoder, content=content) for encoder in encoders for method in methods)


QUESTIONS = [
    Question(
        "Which aligner of the papers?",
        "none < mean shift, C3, BC < ReAlign < AnisoAlign",
        _names("none", "mean_shift", "c3", "bc", "realign", "aniso"),
        stage1_claims.order,
    ),
    Question(
        "Is Gaussian optimal transport better?",
        f"monge ties or beats ReAlign and takes {stage1_claims.WANTED_SHARE:.0%} of what separates it from pairs",
        _names("realign", "monge", "paired"),
        stage1_claims.monge,
    ),
    Question(
        "Can this world tell?",
        f"none, mean shift, ReAlign, monge, pairs: each {stage1_claims.SEPARATED:.0f} half widths of an interval apart",
        _names("none", "mean_shift", "realign", "monge", "paired"),
        stage1_claims.separated,
    ),
    Question(
        "What if the images show other things?",
        "statistics of other content hurt, monge more than ReAlign, and less on the encoder's matches",
        _names("none", "paired", "mean_shift", "realign", "monge")
        + _names("mean_shift", "realign", "monge", "monge shrunk .9", content=OTHER)
        + _names("realign on matches", "monge on matches", content=OTHER),
        stage1_claims.content,
    ),
    Question(
        "How large must the gap be?",
        "the larger the gap, the more alignment wins",
        _names("none", "realign"),
        stage1_claims.gaps,
    ),
    Question(
        "ReAlign, step by step",
        "step 1 alone loses, step 2 wins, step 3 wins",
        (*_names("none", "mean_shift", "realign", encoders=(UNEQUAL,)), "realign, steps 1 and 2"),
        stage1_claims.steps,
    ),
    Question(
        "AnisoAlign, part by part",
        "each loss improves on the global initialisation",
        (
            *_names("aniso", encoders=(UNEQUAL,)),
            "aniso, initialisation",
            "aniso, prior alone",
            "aniso, phases alone",
            "aniso, full bounds",
        ),
        stage1_claims.aniso,
    ),
    Question(
        "Does C3's noise hurt?",
        "C3 gets worse as its noise grows",
        (*_names("mean_shift", "c3", encoders=(UNEQUAL,)), "c3 0.1"),
        stage1_claims.noise,
    ),
    Question(
        "More text than pairs?",
        "as many texts lose to pairs, twice as many win",
        (
            *_names("realign", "monge", "paired", encoders=(UNEQUAL,)),
            "realign, 2x text",
            "realign, 4x text",
        ),
        stage1_claims.amount,
    ),
    Question(
        "More rounds, fewer rows?",
        "rounds beyond the first, and rows beyond a few hundred, change nothing",
        (
            *_names("none", "realign", "monge", "paired", encoders=(UNEQUAL,)),
            "realign, 5 rounds",
            "realign, 500 rows",
            "monge, 500 rows",
        ),
        stage1_claims.statistics,
    ),
    Question(
        "And with a real language model?",
        "the order is the same with SmolLM2-135M",
        tuple(f"{name}, SmolLM2" for name in ("none", "mean_shift", "realign", "monge", "paired")),
        stage1_claims.large,
    ),
]
