"""Whether a reply says yes or no."""

from __future__ import annotations

import re

from .restated import restated
from .text import candidates

YES = r"(?:yes|yeah|yep|yup)"
NO = r"(?:no|nope|nah)"
WORD = rf"(?:{YES}|{NO})"
# "No idea", "no clue": the word no that denies a thing and answers nothing.
THINGS = (
    r"(?:\s+(?:idea|information|info|way|clue|answer|image|one|longer|matter|more|less|other|such|"
    r"evidence|sign|indication|visible|clear|doubt|need|reason|problem|worries))"
)
FOREIGN_YES = (
    "\u662f \u662f\u7684 \u5bf9 \u6b63\u786e \u6709 s\u00ed oui ja sim \u0434\u0430 \u306f\u3044 \uc608 \ub124"
)
FOREIGN_NO = (
    "\u5426 \u4e0d \u4e0d\u662f \u4e0d\u5bf9 \u9519\u8bef \u6ca1\u6709 non nein n\u00e3o \u043d\u0435\u0442 "
    "\u3044\u3044\u3048 \uc544\ub2c8\uc694 \uc544\ub2c8\uc624"
)
FOREIGN = {**dict.fromkeys(FOREIGN_YES.split(), "yes"), **dict.fromkeys(FOREIGN_NO.split(), "no")}
KEY = r"\b(?:answers?|conclusion|response|verdict)"
STATED = re.compile(
    rf"\b(?:i'd|i would|i will|i'll|we'd) (?:answer|say|go with)[\s\"'(:]*({WORD})\b|"
    rf"{KEY}\b(?:\s+(?:to|for|of)\s[^.;!?\n]{{1,80}}?)?[\s\"'(:]*(?:is|:|=|-|would be|should be|"
    rf"must be|->)[\s\"'(:]*(?:(?:simply|clearly|therefore|definitely|a|an|still|"
    rf"that)[\s,]+)*[\"'(]*({WORD})\b(?![- ](?:one|answer)\b)"
    rf"|{KEY}[\s\"'(]+({WORD})\b(?=\W*$|[.,;\n])",
    re.I,
)
DENIED = re.compile(rf"\b(?:not|n't) (?:a |an |simply |say |just )?[\"']?({WORD})\b", re.I)
SUPPOSED = re.compile(rf"\b(?:if|whether)\b[^.,;!?\n]{{0,80}}?\b{WORD}\b|\bno\.? (?=\d)", re.I)
UNDECIDED = re.compile(
    rf"\bif\b[^.!?\n]{{0,80}}\b{WORD}\b[^.!?\n]{{0,40}}\b(?:otherwise|else|"
    rf"if)\b[^.!?\n]{{0,40}}\b{WORD}\b|\b{YES}\b[\"']?\s*(?:and|or|/|&|,)\s*[\"']?\b{NO}\b(?!,? wait|"
    rf"{THINGS})|\b{NO}\b[\"']?\s*(?:and|or|/|&)\s*[\"']?\b{YES}\b",
    re.I,
)
CONCLUDED = re.compile(
    rf"(?:\b(?:so|but|that|thus|hence|therefore|overall|finally|in short|conclusion)\b|"
    rf"=>)[\s,:]*(?:the answer is )?[\"']?({WORD})\b(?!{THINGS})(?=\W|$)(?![\s]+\w)",
    re.I,
)
CORRECTED = re.compile(
    rf"\b(?:wait|actually|correction|sorry|rather|i mean)\b[\s,:.-]*(?:the answer is |it is |"
    rf"it's )?({WORD})\b(?!{THINGS})",
    re.I,
)
HELP = re.compile(
    rf"^\W*{WORD},? i (?:can|will|would)[^.!?\n]{{0,60}}[.!]\s*(?=\S)|\bno (?:doubt|problem|"
    rf"question)\b[^.,:!?\n]{{0,30}}[.,:!]",
    re.I,
)
CORRECTION = re.compile(
    r"\blet me (?:look|check|see) again\b[\s,:.-]*|\bon second thought\b[\s,:.-]*|"
    r"\b(?:no,? )?wait\b[\s,:.-]*|\bcorrection\b[\s,:.-]*",
    re.I,
)
QUESTION = re.compile(r"(?:^|(?<=[.!?\n]))[^.!?\n]{0,300}\?")
FIRST = re.compile(
    rf"[\W_]*(?:(?:well|sure|ok|okay|hmm|i think|i believe|i would say|i'd say|based on the image|"
    rf"definitely|certainly|probably)[\s,:]+)?[\"']?({WORD})\b(?!{THINGS}\b)",
    re.I,
)
LAST = re.compile(
    rf"(?:^|[.!;:,\n?-]\s*|\b(?:is|as|say|so|thus|hence|therefore|be)\s+)[\"'(]*({WORD})[\s.!\"')]*$", re.I
)
MIDDLE = re.compile(rf"(?:^|[.!;\n])\s*({WORD})\s*(?=[.,!;:\n])", re.I)


def yes_or_no(reply: str, question: str = "") -> str | None:
    """'yes' or 'no' where the reply says one of them and not the other; else None. With `question`, a reply that says
    neither but states what was asked, or denies it, counts too: "There is no dog."
    """
    for text in candidates(reply):
        said = yes_or_no_in(text)
        if said:
            return said
        if UNDECIDED.search(text):
            return None
    return _foreign(str(reply)) or (restated(str(reply), question) if question else None)


def yes_or_no_in(text: str) -> str | None:
    """The same for a text that is plain already."""
    single = re.fullmatch(r"\W*([yn])\W*", text, re.I)
    if single:
        return {"y": "yes", "n": "no"}[single.group(1).lower()]
    sure = re.match(
        r"\W*(?:absolutely|definitely|certainly|of course|surely|most likely|probably|likely)( not)?\b(?=\W*$|[.,!])",
        text,
        re.I,
    )
    if sure and not re.search(rf"\b{WORD}\b", text[sure.end() :], re.I):
        return "no" if sure.group(1) else "yes"
    words = re.findall(rf"\b{WORD}\b", text, re.I)
    if not words:
        whole = re.fullmatch(r"\W*(?:the (?:statement|answer|claim) is )?(true|false|correct|incorrect)\W*", text, re.I)
        return {"true": "yes", "correct": "yes"}.get(whole.group(1).lower(), "no") if whole else None
    undecided = list(UNDECIDED.finditer(text))
    if undecided:
        return yes_or_no_in(text[undecided[-1].end() :])
    text = SUPPOSED.sub(" ", DENIED.sub(" ", text))
    answered = HELP.sub("", QUESTION.sub("", text))
    text = answered if re.search(rf"\b{WORD}\b", answered, re.I) else text
    corrected = list(CORRECTION.finditer(text))
    if corrected and re.search(rf"\b{WORD}\b", text[corrected[-1].end() :], re.I):
        said = yes_or_no_in(text[corrected[-1].end() :])
        if said:
            return said
    for rule in (CORRECTED, STATED, CONCLUDED):
        found = rule.findall(text)
        if found:
            return _last(found)
    first = FIRST.match(text)
    if first:
        said = _value(first.group(1))
        again = [_value(word) for word in MIDDLE.findall(text[first.end(1) :])] + _last_word(text[first.end(1) :])
        looped = (
            len(words) > 2
            and len({_value(w) for w in words}) == 2
            and re.fullmatch(rf"\W*(?:{WORD}\W+){{2,}}{WORD}?\W*", text, re.I)
        )
        return None if looped or any(word != said for word in again) else said
    last = _last_word(text)
    middle = {_value(word) for word in MIDDLE.findall(text)}
    if last:
        return last[0] if middle <= set(last) else None
    return middle.pop() if len(middle) == 1 else None


def _last_word(text: str) -> list[str]:
    match = LAST.search(text)
    return [_value(match.group(1))] if match else []


def _last(found: list) -> str | None:
    if not found:
        return None
    last = found[-1]
    return _value(last if isinstance(last, str) else next(each for each in last if each))


def _value(word: str) -> str:
    return "yes" if re.fullmatch(YES, word, re.I) else "no"


def _foreign(reply: str) -> str | None:
    """Yes and no of other languages, where the reply begins with the word."""
    first = re.match(r"\s*(?:\u7b54\u6848(?:\u662f|\u4e3a)?[:\uff1a]?\s*)?([^\s,.!\uff0c\u3002\uff01\u3001]+)", reply)
    return FOREIGN.get(first.group(1).lower()) if first else None
