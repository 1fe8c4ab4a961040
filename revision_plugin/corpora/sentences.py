"""List items and sentences of a text, as spans `(start, end)` of its characters."""

from __future__ import annotations

import re
import unicodedata

import sentencex

from ..errors import RevisionError

Span = tuple[int, int]

BULLET = r"[•‣▪●◦∙]"
# what opens a line of a list
MARKER = re.compile(rf"\s*(?:{BULLET}\s*|[-*+–—]\s+|\(?\d{{1,3}}[.)]\s+|\(?[A-Za-z]\)\s+)")
LINE_BREAK = re.compile(r"\r\n|[\n\v\f\r\x85\u2028\u2029]")
# a line or an item of nothing but marks
RULE = re.compile(r"[\s!-/:-@\[-`{-~–—…•]*")
# a shorter line ends where its writer ended it; a longer one may have been wrapped
WRAPPED = 50
# marks of a list within a line: a bullet, or a number at the start or after punctuation
INLINE_BULLET = re.compile(rf"(?<!\S){BULLET}(?=\s)")
INLINE_NUMBER = re.compile(r"(?<!\S)\(?(\d{1,2})([.)])(?=\s)")
URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
# after these a sentence goes on, though the library ends it
GOES_ON = {
    "en": re.compile(r"(?<!\w)(?:approx|vols?)\.$", re.IGNORECASE),
    "fr": re.compile(r"(?<!\w)(?:MM?|Mmes?|Mlles?|Dr|Pr|St|Ste)\.$"),
    "it": re.compile(r"(?<!\w)(?:dott|sig|sig\.ra|on|prof|ing)\.$", re.IGNORECASE),
    "pl": re.compile(r"(?<!\w)(?:dr|prof|mgr|inż|ul|św)\.$", re.IGNORECASE),
}
DOTTED = re.compile(r"(?<!\w)\w\.(?:\w\.)*$")
LONGEST_ABBREVIATION = 12
STRETCH = 1000  # characters
ENOUGH = 3  # letters of a part that stands by itself
# a quotation in Japanese, after which と goes on
CLOSING_CORNER = ("」", "』")


def sentence_spans(text: str, language: str) -> list[Span]:
    """The items of lists and, within each, the sentences, in the order of the text; the marks of lists are left out.

    `language` is an ISO 639-1 code; one that sentencex has no rules for is split by those of a related language. Raises
    RevisionError for text that UTF-8 cannot hold.
    """
    spans: list[Span] = []
    addresses = {place for match in URL.finditer(text) for place in range(match.start() + 1, match.end())}
    for start, end in _items(text):
        try:
            pieces = _sentences_of_library(text, start, end, language)
        except UnicodeEncodeError:
            raise RevisionError("a text holds half of a surrogate pair, which is no character; mend it") from None
        spans += _mended(text, start, pieces, language, addresses)
    return join_short(text, spans)


def _sentences_of_library(text: str, start: int, end: int, language: str) -> list[str]:
    """`text[start:end]` in sentences, a stretch at a time: the library's time grows with the square of the open
    quotation marks.
    """
    pieces: list[str] = []
    goes_on = False
    while start < end:
        stop = min(start + STRETCH, end)
        found = sentencex.segment(language, text[start:stop])
        starts_within = goes_on
        goes_on = stop < end and len(found) == 1
        if stop < end and len(found) > 1:
            found.pop()  # cut off, perhaps: it opens the next stretch
        start += sum(map(len, found))
        if starts_within:
            pieces[-1] += found.pop(0)
        pieces += found
    return pieces


def _mended(text: str, start: int, pieces: list[str], language: str, addresses: set[int]) -> list[Span]:
    """Spans of the library's sentences, but for ends within an address, after an abbreviation or before a mark."""
    abbreviation = GOES_ON.get(language)
    spans: list[Span] = []
    for piece in pieces:
        end = start + len(piece)
        if spans:
            before = text[max(spans[-1][1] - LONGEST_ABBREVIATION, spans[-1][0]) : spans[-1][1]].rstrip()
            follows = piece.lstrip()[:1]
            if (
                start in addresses
                or (follows.islower() and DOTTED.search(before))
                or (follows.isalnum() and abbreviation and abbreviation.search(before))
                or (follows == "と" and before[-1:] in CLOSING_CORNER)
            ):
                start = spans.pop()[0]
        spans.append((start, end))
        start = end
    return spans


def _items(text: str) -> list[Span]:
    """Spans of paragraphs, list items and lines, without their marks; a wrapped line goes on in the next one."""
    lines: list[tuple[int, int, int]] = []  # where a line starts, where its words do, its end
    breaks = [match.span() for match in LINE_BREAK.finditer(text)]
    starts = [0, *(after for _, after in breaks)]
    ends = [*(before for before, _ in breaks), len(text)]
    length = 0  # of the line before, stripped
    for start, end in zip(starts, ends):
        line = text[start:end]
        marker = MARKER.match(line)
        if length >= WRAPPED and not marker and line.lstrip()[:1].islower():
            lines[-1] = (*lines[-1][:2], end)
        elif not RULE.fullmatch(line):
            lines.append((start, start + marker.end() if marker else start, end))
        length = 0 if RULE.fullmatch(line) else len(line.strip())
    return [item for line in lines for item in _inline_items(text, *line)]


def _inline_items(text: str, start: int, words: int, end: int) -> list[Span]:
    """The items of a list that stands in one line: `• a • b`, or `1. a 2. b` with numbers that count from 1."""
    numbers: list[Span] = []
    for match in INLINE_NUMBER.finditer(text, start, end):
        before = text[max(start, match.start() - 3) : match.start()].rstrip()
        opens = match[2] == ")" or not before or before[-1] in ".!?:;,"
        if opens and int(match[1]) == len(numbers) + 1:
            numbers.append(match.span())
    if len(numbers) < 2:
        numbers = []
    if numbers:
        words = start
    marks = sorted([*numbers, *(match.span() for match in INLINE_BULLET.finditer(text, words, end))])
    edges = [words, *(place for mark in marks for place in mark), end]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2]) if not RULE.fullmatch(text, a, b)]


def join_short(text: str, spans: list[Span]) -> list[Span]:
    """`spans` without those of at most two letters: each joins the one before it; the first, and one that ends in a
    full stop as an abbreviation does, the one after it.
    """
    joined: list[Span] = []
    waiting, held = None, 0  # where short parts start that join the next one, and the letters that they hold
    for start, end in spans:
        part = text[start:end]
        held += letters(part, ENOUGH)
        opens = waiting if waiting is not None else start
        if held >= ENOUGH:
            joined.append((opens, end))
        elif joined and not (held and part.rstrip().endswith(".")):
            joined[-1] = (joined[-1][0], end)
        else:
            waiting = opens
            continue
        waiting, held = None, 0
    if waiting is not None:
        opens = joined.pop()[0] if joined else waiting
        joined.append((opens, spans[-1][1]))
    return joined


def letters(part: str, enough: int) -> int:
    """How many letters, digits and vowel signs `part` holds, counted up to `enough`."""
    count = 0
    for each in part:
        count += each.isalnum() or unicodedata.category(each)[0] == "M"
        if count == enough:
            break
    return count
