"""The options that a question brings in its own text."""

from __future__ import annotations

import re
import string

LETTERS = string.ascii_uppercase
LINE = re.compile(r"(?m)^[ \t]*\(?([A-Z])[).:][ \t]*(\S.*?)[ \t]*$")
BRACKETED = re.compile(r"\(([A-Z])\)")
PLAIN = re.compile(r"(?:(?<=^)|(?<=[\s,;(]))([A-Z])[:.)](?=\s)")
FORMS = (BRACKETED, PLAIN)


def options_in(question: str) -> dict[str, str]:
    """Options by letter that `question` lists from A on: one a line (`A. red`, `(A) red`), or in a row (`(A) True
    (B)False`, `A: red, B: green`). An option without a text (a letter that stands for a part of the image) has an
    empty one. Empty where the question lists none.
    """
    listed = _in_order(LINE.findall(question))
    rows = [_row(question, form) for form in FORMS]
    return max([listed, *rows], key=len)


def _row(question: str, form: re.Pattern) -> dict[str, str]:
    """The last run of marks A, B, C ... of one form, each with the text up to the next mark."""
    marks = list(form.finditer(question))
    starts = [number for number, mark in enumerate(marks) if mark.group(1) == "A"]
    if not starts:
        return {}
    run = marks[starts[-1] :]
    ends = [mark.start() for mark in run[1:]] + [len(question)]
    pairs = [(mark.group(1), question[mark.end() : end]) for mark, end in zip(run, ends)]
    return _in_order(
        [(letter, text.split("\n")[0] if end == len(question) else text) for (letter, text), end in zip(pairs, ends)]
    )


def _in_order(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The pairs as options where their letters are A, B, C ...; else none."""
    options = {letter: text.strip().rstrip(" ,.;") for letter, text in pairs}
    ordered = len(options) == len(pairs) > 1 and list(options) == list(LETTERS[: len(options)])
    return options if ordered else {}
