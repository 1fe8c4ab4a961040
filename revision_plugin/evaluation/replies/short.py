"""Whether a free reply gives the answer of a row: a number by its value, any other answer by its words."""

from __future__ import annotations

import re
import unicodedata

from .numbers import Number, numbers_in, read_number
from .text import SHORT, candidates, content, plain
from .yes_no import yes_or_no

STATEMENT = re.compile(
    r"\b(?:answers?|result|solution|value|total|count|number|sum|length|distance|"
    r"correct)\b(?:\s+(?:to|for|of)\s[^.;!?\n=:]{1,80}?)?\s*(?:is|are|was|would be|should be|must be|"
    r"equals|:|=)+\s*(?:approximately|about|around|roughly)?",
    re.I,
)
CONCLUSION = re.compile(r"\b(?:therefore|thus|hence|so|in conclusion|finally|overall)\b[\s,:]*", re.I)
CORRECTION = re.compile(
    r"\b(?:let me (?:recount|count again|check again)|recounting|no,? wait|wait|actually|correction|"
    r"sorry|i mean)\b[\s,:.-]*",
    re.I,
)
HEDGE = re.compile(
    r"\b(?:or|not|nor|neither|never|if|whether|unsure|unclear|unable|cannot|can't|impossible|"
    r"rather than|instead of)\b|n't\b|no idea",
    re.I,
)
MATHEMATICAL = re.compile(r"\d|\bsqrt\b|\bpi\b|[\^/]")
DENIAL = re.compile(r",? (?:and )?(?:but )?not (?:(?! but )[^,.;!?]){1,60}(?= but |[,.;!?]|$)", re.I)
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^\d])|\n+")


def short_answer(reply: str, gold: str) -> bool:
    """Whether `reply` gives `gold` and nothing beside it. Numbers count by value to half a unit of the gold's last
    digit, at most .005 where it has no more than two decimals.
    """
    answer = " ".join(word for word, _, _ in content(plain(gold)))
    if answer in ("yes", "no"):
        return yes_or_no(reply) == answer
    number = read_number(gold)
    for text in candidates(reply):
        if not text:
            continue
        if number is not None:
            return _says_number(text, number)
        return _says_words(text, answer)
    return False


def _spans(text: str) -> list[str]:
    """Where the answer may be, the surest first: after a correction, after 'the answer is', after 'therefore', the last
    sentence, all of it.
    """
    spans = []
    for rule in (CORRECTION, STATEMENT, CONCLUSION):
        found = list(rule.finditer(text))
        if found and text[found[-1].end() :].strip():
            spans.append(SENTENCE.split(text[found[-1].end() :].strip())[0])
    return [*spans, text]


def _says_number(text: str, gold: Number) -> bool:
    if len(text) == 1 and text.isnumeric():  # a numeral of another script
        text = f"{unicodedata.numeric(text):g}"
    spans = _spans(text)
    if len(spans) == 1 and len(text.split()) > SHORT and not re.search(r"[.!?)\]\"'%]\s*$|\d\D{0,12}$", text):
        return False  # cut off before it came to an answer
    for span in spans:
        head, colon, _ = span.partition(":")
        values = numbers_in(head if colon and numbers_in(head) else span)
        if values:
            return len({value.value for value in values}) == 1 and values[0].same_as(gold)
    return False


def _says_words(text: str, answer: str) -> bool:
    if not answer:
        return False
    wanted = answer.split(" ")
    text = DENIAL.sub("", text)
    for span in _spans(text):
        words = [word for word, _, _ in content(span)]
        if words == wanted:
            return True
        for start in range(len(words) - len(wanted) + 1):
            if words[start : start + len(wanted)] == wanted:
                part = start and MATHEMATICAL.search(answer) and re.fullmatch(r"[\d.]+|[-+/^=]", words[start - 1])
                behind = re.search(r"\bbut\b|\bhowever\b", span[content(span)[start + len(wanted) - 1][2] :], re.I)
                return not part and not behind and not HEDGE.search(span)
        if span is not text and words:
            return False
    return False
