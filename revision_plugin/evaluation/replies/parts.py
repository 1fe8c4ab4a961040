"""The option that a short answer names by a part of its text: its number without the unit, or words no other has."""

from __future__ import annotations

import re

from .numbers import numbers_in
from .restated import HEDGE, NEGATION, stems
from .text import content, plain

STATED = re.compile(r"\b(?:answer|result|option|choice)\b[^.;!?\n]{0,40}?(?:\bis\b|:|=)", re.I)
SHORT = 6  # words: a longer reply says more than one option's text
SMALL_WORDS = 4  # letters: "all", "not", "one" stand in too many texts to name one


def by_part(text: str, texts: dict[str, str]) -> frozenset[str]:
    """The one option of which the reply, or what follows its last "the answer is", gives the number, some words, or all
    its words in another number or tense.
    """
    said = list(STATED.finditer(text))
    span = re.split(r"(?<=[^\d])\.\s|\n", text[said[-1].end() :].strip() if said else text)[0].strip(" .:")
    if not span or len(span.split()) > SHORT:
        return frozenset()
    return _by_number(span, texts) or _by_words(span, texts) or _by_stems(span, texts)


def _by_number(span: str, texts: dict[str, str]) -> frozenset[str]:
    said = numbers_in(span)
    numbers = {key: numbers_in(plain(text)) for key, text in texts.items()}
    if len(said) != 1 or any(len(each) > 1 for each in numbers.values()):
        return frozenset()
    same = [key for key, each in numbers.items() if each and said[0].same_as(each[0])]
    return frozenset(same) if len(same) == 1 else frozenset()


def _by_words(span: str, texts: dict[str, str]) -> frozenset[str]:
    words = [word for word, _, _ in content(span)]
    if not any(len(word) >= SMALL_WORDS and word.isalpha() for word in words):
        return frozenset()
    found = []
    for key, text in texts.items():
        option = [word for word, _, _ in content(plain(text))]
        if any(option[start : start + len(words)] == words for start in range(len(option) - len(words) + 1)):
            found.append(key)
    return frozenset(found) if len(found) == 1 else frozenset()


def _by_stems(span: str, texts: dict[str, str]) -> frozenset[str]:
    said = stems(span)
    if NEGATION.search(span) or HEDGE.search(span):
        return frozenset()
    wanted = {key: stems(plain(text)) for key, text in texts.items()}
    found = [key for key, option in wanted.items() if option and option <= said]
    if len(found) != 1 or not any(len(word) >= SMALL_WORDS for word in wanted[found[0]]):
        return frozenset()
    return frozenset(found)
