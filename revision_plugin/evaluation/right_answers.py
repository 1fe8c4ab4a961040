"""A benchmark's row as a question: its options, and the answer that counts as right."""

from __future__ import annotations

import ast
import operator
import re
from dataclasses import dataclass, field

from ..errors import RevisionError
from .documents import field as field_of
from .documents import name_of
from .replies import choice, choices, options_in, short_answer, yes_or_no
from .replies.question_options import LETTERS

DIRECTLY = "Please answer directly with only the letter of the correct option and nothing else."
LETTER_RANGE = re.compile(r"\b[A-Z] ?- ?([A-Z])\b|\bA, ?B\b[^.?]{0,40}?\b([C-Z])\b(?=\W*(?:$|[.?)]|should))")
USUAL_LAST = "E"  # of LogicVista's questions that do not say how many options the image has
YES_NO = ("yes", "no")


@dataclass(frozen=True)
class Question:
    """How a reply to one row is scored: as `letter` (one of `options`), `letters` (all of them and no other), `yes_no`
    or `words` (a number or words). `right` holds the answers that count, for `letters` all that must be named.
    """

    kind: str
    right: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)
    letters: str = ""
    asked: str = ""  # of a yes/no question: its text

    def score(self, reply: str) -> float:
        """1.0 where `reply` gives the right answer and no other, else 0.0."""
        if self.kind == "yes_no":
            return float(yes_or_no(reply, self.asked) in self.right)
        if self.kind == "words":
            return float(any(short_answer(reply, one) for one in self.right))
        if self.kind == "letters":
            return float(choices(reply, self.letters, self.options) == frozenset(self.right))
        return float(choice(reply, self.letters, self.options) in self.right)


def _refuse(row: dict, what: str):
    raise RevisionError(f"{name_of(row)}: {what}; get the dataset again, or score without this row")


def text_of(row: dict, name: str) -> str:
    """A field of a row that must hold text. Raises RevisionError naming the row where it is empty."""
    value = field_of(row, name)
    text = "" if value is None or value != value else str(value).strip()
    if not text:
        _refuse(row, f"its field '{name}' is empty")
    return text


def _asked(row: dict) -> str:
    """The question of a row; empty only where the row has no such field, because the question is in the image."""
    return text_of(row, "question") if "question" in row else ""


def lettered(texts: list[str]) -> dict[str, str]:
    """Option texts by letter."""
    return dict(zip(LETTERS, texts))


def _letter_question(row: dict, gold: str, options: dict[str, str], letters: str) -> Question:
    named = re.match(r"\(?([A-Za-z])\)?(?:[.:,)\s]|$)", gold.strip())
    gold = named.group(1).upper() if named else gold.strip()
    if gold not in tuple(letters):
        _refuse(row, f"its answer is {gold!r}, which is none of its options {', '.join(letters)}")
    return Question("letter", (gold,), options, letters)


def yes_no_question(row: dict, name: str = "answer") -> Question:
    """MME, POPE: yes or no in `answer`."""
    asked, gold = _asked(row), text_of(row, name).lower().rstrip(".")
    if gold not in YES_NO:
        _refuse(row, f"its {name} is {gold!r}, neither yes nor no")
    return Question("yes_no", (gold,), asked=asked)


def hallusionbench_question(row: dict) -> Question:
    asked, gold = _asked(row), {"1": "yes", "0": "no"}.get(text_of(row, "gt_answer").removesuffix(".0"))
    if gold is None:
        _refuse(row, f"its gt_answer is {row['gt_answer']!r}, neither 0 nor 1")
    return Question("yes_no", (str(gold),), asked=asked)


def question_with_options(row: dict, name: str = "question", answer: str = "answer") -> Question:
    """MMStar, CRPE: options written in the question; A to D where it has none."""
    options = options_in(text_of(row, name).replace(DIRECTLY, "").strip())
    return _letter_question(row, text_of(row, answer), options, "".join(options) or "ABCD")


def crpe_question(row: dict) -> Question:
    return question_with_options(row, "text", "correct_option")


def scienceqa_question(row: dict) -> Question:
    _asked(row)
    texts, number = listed(field_of(row, "choices")), field_of(row, "answer")
    if not texts or len(texts) > len(LETTERS):
        _refuse(row, "it has no choices" if not texts else f"it has {len(texts)} choices, more than there are letters")
    number = operator.index(number) if hasattr(number, "__index__") and not isinstance(number, bool) else number
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(texts):
        _refuse(row, f"its answer is {number!r}, not the number of one of its {len(texts)} choices")
    options = lettered([str(text) for text in texts])
    return Question("letter", (LETTERS[number],), options, "".join(options))


def realworldqa_question(row: dict) -> Question:
    """Options in the question, or a word or number."""
    gold, options = text_of(row, "answer"), options_in(text_of(row, "question").replace(DIRECTLY, "").strip())
    return _letter_question(row, gold, options, "".join(options)) if gold in options else Question("words", (gold,))


def listed(value) -> list[str]:
    """Options or answers that a dataset stores as a list or as the text of one; a list within it is spread out."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str):
        if not value.strip().startswith("["):
            return [value.strip()] if value.strip() else []  # "7,243" is one answer
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            raise RevisionError(f"{value[:60]!r} is no list; get the dataset again") from None
    if not isinstance(value, (list, tuple)):
        return [] if value is None or value != value else [str(value)]
    if any(item is None or item != item for item in value):
        raise RevisionError(f"{str(value)[:60]} has an empty entry; get the dataset again")
    return [text for item in value for text in (listed(list(item)) if isinstance(item, (list, tuple)) else [str(item)])]


def _listed_in(row: dict, name: str) -> list[str]:
    """`listed` for a field of a row. Raises RevisionError that names the row."""
    try:
        return listed(field_of(row, name))
    except RevisionError as error:
        raise RevisionError(f"{name_of(row)}: its field '{name}': {error}") from None


def is_open(row: dict) -> bool:
    """Whether a row of MMMU asks for a word or a number: by its type, or for want of options."""
    kind = str(row.get("question_type") or "multiple-choice").strip().lower()
    return kind in ("open", "short-answer", "short answer") or not _listed_in(row, "options")


def mmmu_question(row: dict) -> Question:
    """MMMU, MMMU-Pro: options as a list, or an open question with one or more answers."""
    _asked(row)
    if is_open(row):
        value = field_of(row, "answer")
        # Several answers are a list of texts; brackets without quotes are an interval, one answer.
        interval = (
            isinstance(value, str) and value.strip().startswith("[") and not re.search(r"['\"]|^\[\]$", value.strip())
        )
        right = (value,) if interval else tuple(text for text in _listed_in(row, "answer") if text.strip())
        if (
            str(row.get("question_type") or "").startswith("multiple")
            and len(right) == 1
            and right[0] in tuple(LETTERS)
        ):
            _refuse(row, f"its answer is the letter {right[0]}, but it has no options")
        return Question("words", right) if right else _refuse(row, "its field 'answer' is empty")
    options = lettered(_listed_in(row, "options"))
    return _letter_question(row, text_of(row, "answer"), options, "".join(options))


def visulogic_question(row: dict) -> Question:
    _asked(row)
    return _letter_question(row, text_of(row, "label"), {}, "ABCD")


def logicvista_question(row: dict) -> Question:
    """Letters, of which all right ones must be named; a number where the question offers numbers (v1_20)."""
    question, gold = text_of(row, "question"), text_of(row, "answer")
    if re.fullmatch(r"\d+", gold):
        return Question("words", (gold,))
    right = tuple(filter(None, re.split(r"[\s,;.\[\]'\"()]+", gold.upper())))
    if not right or not all(re.fullmatch(r"[A-Z]", letter) for letter in right):
        _refuse(row, f"its answer is {gold!r}, no letters")
    options = options_in(question)
    named = LETTER_RANGE.search(question)  # where the options are parts of the image
    last = max([*options, *right, (named and (named[1] or named[2])) or ("" if options else USUAL_LAST)])
    letters = LETTERS[: LETTERS.index(last) + 1]
    texts = {letter: text for letter, text in options.items() if text and text != letter}
    return Question("letters", right, texts, letters)


def crpe_exist_question(row: dict) -> Question:
    """CRPE's existence part in VLMEvalKit's table: `question` and `answer`, a letter with or without its text."""
    options = options_in(text_of(row, "question").replace(DIRECTLY, "").strip())
    return _letter_question(row, text_of(row, "answer").lstrip("(")[:1], options, "".join(options) or "ABCD")


def demo_question(row: dict) -> Question:
    _asked(row)
    return Question("words", (text_of(row, "answer"),))
