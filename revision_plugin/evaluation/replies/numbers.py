"""Numbers as people write them: with separators, in words, as fractions, powers of ten or percent."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from .text import NUMBER_WORDS, plain

SCALES = {
    "hundred": 1e2,
    "thousand": 1e3,
    "million": 1e6,
    "billion": 1e9,
    "trillion": 1e12,
    "k": 1e3,
    "mn": 1e6,
    "bn": 1e9,
}
TENS = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10)))
UNITS = {word: int(number) for word, number in NUMBER_WORDS.items()}
FRACTIONS = {"half": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fifth": 5, "fifths": 5}
NUMBER = re.compile(
    r"(?<![\w.^])(?P<sign>[-+]\s?)?(?P<currency>[$\u20ac\u00a3])?\s?"
    r"(?P<digits>\d+(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|\.\d+)"
    r"(?:\s?/\s?(?P<over>\d+(?:\.\d+)?)(?![\d/]))?"
    r"(?:[eE](?P<e>[-+]?\d+)|\s?[x\u00d7]\s?10\s?\^?\s?\(?(?P<power>[-+]?\d+)\)?)?"
    r"(?:\s?(?P<scale>hundred|thousand|million|billion|trillion|k|mn|bn)\b)?",
    re.I,
)
WORDS = "|".join([*UNITS, *TENS])
IN_WORDS = re.compile(rf"\b(?:{WORDS})(?:[\s-](?:and )?(?:{WORDS}|hundred|thousand|million|billion))*\b", re.I)
PARTS = re.compile(
    r"\b(?:(?P<count>a|one|two|three|four|1|2|3|4)[\s-])?(?P<part>half|thirds?|quarters?|fifths?)\b", re.I
)
BOUND = re.compile(
    r"\b(?:more|less|fewer|greater|larger|smaller|higher|lower) than\s*$|\b(?:at least|at most|up to)\s*$", re.I
)
UNIT_NAMES = dict(
    pair.split(":")
    for pair in (
        "volt:V v:V amp:A ampere:A watt:W meter:m metre:m centimeter:cm centimetre:cm millimeter:mm "
        "kilometer:km kilogram:kg gram:g second:s sec:s minute:min hour:h degree:\xb0 ohm:\u03a9 newton:N "
        "joule:J dollar:$ usd:$ euro:\u20ac eur:\u20ac pound:\xa3"
    ).split()
)


@dataclass(frozen=True)
class Number:
    """A value and how finely it was written: `step` is one unit of its last digit."""

    value: float
    step: float
    unit: str = ""

    def same_as(self, gold: Number) -> bool:
        """Whether the value is `gold`'s to half a unit of its last digit (.005 where that is coarser), in no other
        unit.
        """
        if gold.unit and self.unit and unit_of(self.unit) != unit_of(gold.unit):
            return False
        return abs(self.value - gold.value) <= min(0.005, gold.step / 2) * (1 + 1e-9) + 1e-9 * abs(gold.value)


def read_number(text: str) -> Number | None:
    """The number that a short text is (a currency sign and a percent sign aside); None where it is none."""
    bare = plain(text).strip().rstrip("%").strip()
    match = NUMBER.match(bare)
    rest = bare[match.end() :].strip() if match else ""
    if not match or not re.fullmatch(r"|[^\W\d]{1,12}|\u00b0 ?[CF]?", rest):
        return None
    return _of(match, rest)


def numbers_in(text: str) -> list[Number]:
    """The numbers of a text that may be its answer: after the last equal sign, without those in brackets behind another
    and without those that are denied.
    """
    text = text.rsplit("=", 1)[1] if "=" in text and re.search(r"\d", text.rsplit("=", 1)[1]) else text
    text = re.sub(
        r"\bone (?=(?:might|may|can|could|would|should|must|has|needs|another|who|that|side)\b)", "", text, flags=re.I
    )
    text = re.sub(r"\b(?:negative|minus) (?=[\w.])", "-", IN_WORDS.sub(_from_words, PARTS.sub(_from_parts, text)))
    if "(" in text and re.search(r"\d", text.partition("(")[0]):
        text = re.sub(r"\([^()]*\)", " ", text)
    text = re.sub(r"(?<!x )(?<![\w.])10 ?\^ ?\(?([-+]?\d+)\)?", r"1e\1", text)
    text = re.sub(r"(\d+) (?:out )?of (?:the |all )?\d+\b", r"\1", text)
    text = re.sub(r"(?:\bnot|n't|\brather than|\binstead of)\s+(?:an? |the |exactly )?[-$]?[\d.,]+\d*%?", " ", text)
    text = re.sub(r"\b(\d+(?:\.\d+)?)\s?(?:-|to)\s?(\d+(?:\.\d+)?)\b", r"\1 and \2", text)  # a range is two
    return [
        _of(match, _unit_after(text, match.end()))
        for match in NUMBER.finditer(text)
        if not BOUND.search(text[max(0, match.start() - 24) : match.start()])
    ]


def unit_of(text: str) -> str:
    """The sign of a unit that is written out: volts and V are one."""
    return UNIT_NAMES.get(text.lower().rstrip("s"), UNIT_NAMES.get(text.lower(), text))


def _unit_after(text: str, end: int) -> str:
    match = re.match(r"\s?([^\W\d_]{1,12}|\u00b0 ?[CF]?)(?![\w])", text[end : end + 16])
    return match.group(1) if match else ""


def _of(match: re.Match, unit: str = "") -> Number:
    digits = match["digits"].replace(",", "")
    factor = 10.0 ** float(match["e"] or match["power"] or 0) * SCALES.get((match["scale"] or "").lower(), 1)
    value = float(digits) * factor
    step = 10.0 ** -len(digits.partition(".")[2]) * factor
    if match["over"]:
        value, step = (value / float(match["over"]) if float(match["over"]) else math.nan), 0.01
    return Number(-value if (match["sign"] or "").startswith("-") else value, step, match["currency"] or unit)


def _from_words(match: re.Match) -> str:
    total, part = 0.0, 0.0
    for word in re.split(r"[\s-]+", match.group().lower()):
        if word in SCALES:
            part = (part or 1) * SCALES[word]
            if SCALES[word] > 100:
                total, part = total + part, 0.0
        elif word != "and":
            part += UNITS.get(word, TENS.get(word, 0))
    return f"{total + part:.0f}"


def _from_parts(match: re.Match) -> str:
    count = {"a": 1, "one": 1, "two": 2, "three": 3, "four": 4, None: 1}.get((match["count"] or "one").lower())
    return f"{count or match['count']}/{FRACTIONS[match['part'].lower()]}"
