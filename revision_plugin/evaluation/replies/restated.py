"""Whether a reply without yes or no states what a question asks, or denies it."""

from __future__ import annotations

import re

from .text import SENTENCE, candidates

# Words of a question that its answer need not repeat.
SMALL = frozenset(
    "is are was were be been do does did can could will would has have had there a an the this that "
    "these those in on of "
    "at to from with for by and any some it its they he she you we i see please answer yes no or "
    "according image images "
    "picture pictures photo photograph shown show shows given using one single word phrase question following".split()
)
NEGATION = re.compile(r"\b(?:not|no|never|without|neither|none|cannot|zero)\b(?! doubt| question| only)|n't\b", re.I)
HEDGE = re.compile(
    r"\b(?:might|may|could|maybe|perhaps|possibly|whether|if|unclear|unsure|sure|certain|cannot|can't|unable|hard|"
    r"difficult|sorry|either|or|but|however|although)\b",
    re.I,
)
NEAR = 6  # words between a negation and what it denies


def restated(reply: str, question: str) -> str | None:
    """'yes' where a sentence of the reply states all that `question` asks, 'no' where it denies it, else None.

    A sentence counts when it has every word of the question that carries meaning; one that hedges, or denies
    something else, does not. A question with "or" or a denial of its own is left alone.
    """
    question = re.split(r"\?|\bplease answer\b", question, maxsplit=1, flags=re.I)[0]
    asked = stems(question)
    if not asked or NEGATION.search(question) or re.search(r"\bor\b", question, re.I):
        return None
    said = {
        value for sentence in SENTENCE.split(candidates(reply)[-1]) if (value := _sentence(sentence, asked)) is not None
    }
    return said.pop() if len(said) == 1 else None


def _sentence(sentence: str, asked: set[str]) -> str | None:
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)?", sentence.lower())
    places = [number for number, word in enumerate(words) if _stem(word) in asked]
    if not asked <= {_stem(word) for word in words} or HEDGE.search(sentence) or sentence.strip().endswith("?"):
        return None
    denials = [number for number, word in enumerate(words) if NEGATION.fullmatch(word) or word.endswith("n't")]
    denials = [
        number for number in denials if words[number + 1 : number + 2] not in (["doubt"], ["question"], ["only"])
    ]
    if not denials:
        return "yes"
    first, last = places[0], places[-1]
    near = [number for number in denials if first - NEAR <= number <= last + NEAR // 2]
    return "no" if len(denials) == len(near) == 1 else None


def stems(text: str) -> set[str]:
    """The words of a text that carry meaning, without their endings."""
    return {_stem(word) for word in re.findall(r"[^\W_]+", text.lower()) if word not in SMALL}


def _stem(word: str) -> str:
    """A word without its ending for number or tense."""
    for ending in ("ies", "es", "s", "ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending) + ("y" if ending == "ies" else "")
    return word.removesuffix("e") if len(word) > 3 else word
