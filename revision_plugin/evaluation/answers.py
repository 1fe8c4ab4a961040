"""Reads the answer out of a model's reply. An unclear reply is no answer (None): nothing is ever guessed."""

from __future__ import annotations

import re
import string

LETTERS = string.ascii_uppercase[:10]
NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())
}
REFUSAL = re.compile(
    r"\b(no idea|not sure|unsure|cannot|can't|can not|unable|impossible to (say|tell)|don't know|do not know|unclear)\b"
)
STATEMENT = (
    r"(?:answers?|options?|choices?|conclusion)(?:\s+(?:to the question|here))?\s*"
    r"(?:is|are|would be|should be|must be|:|=|-)+\s*(?:the\s+)?(?:option|choice|letter)?\s*:?\s*"
)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?|-?\.\d+")


def clean(reply: str) -> str:
    """The reply without reasoning blocks, answer tags, markdown and LaTeX wrappers."""
    reply = re.sub(r"<(think|thought|reasoning)>.*?</\1>", " ", reply, flags=re.S | re.I)
    tagged = re.findall(r"<answer>(.*?)</answer>", reply, flags=re.S | re.I)
    reply = tagged[-1] if tagged else reply
    boxed = re.findall(r"\\boxed\{\s*(?:\\text\{)?\s*([^{}]*?)\s*\}", reply)
    reply = boxed[-1] if boxed else reply
    return re.sub(r"[*_`$]+", "", reply).replace("\u2019", "'").strip()


def normal(text: str) -> str:
    """Lower case, single spaces, no leading article and no surrounding punctuation; number words as digits."""
    text = re.sub(r"\s+", " ", text.lower()).strip(string.punctuation.replace("-", "").replace("%", "") + " ")
    text = re.sub(r"^(?:a|an|the) ", "", text)
    return " ".join(NUMBER_WORDS.get(word, word) for word in text.split(" "))


def yes_or_no(reply: str) -> str | None:
    """'yes' or 'no' where the reply says so: first, in an 'answer is', or as its last sentence."""
    text = clean(reply).lower()
    if re.search(r"\byes\b\s*(?:and|or|/|,)\s*\bno\b|\bno\b\s*(?:and|or|/)\s*\byes\b", text):
        return None
    stated = re.findall(rf"{STATEMENT}[\"'(]*(yes|no)\b", text)
    if stated:
        return stated[-1]
    first = re.match(r"[\W_]*(yes|no)\b(?!\s+(?:idea|information|way to|clue))", text)
    if first:
        return first.group(1)
    single = re.fullmatch(r"\W*([yn])\W*", text)
    if single:
        return {"y": "yes", "n": "no"}[single.group(1)]
    last = re.search(r"(?:^|[.!;:,\n]|\bso|\bthus|\bhence|\btherefore)\s*,?\s*(yes|no)\W*$", text)
    return last.group(1) if last else None


def options_in(question: str) -> dict[str, str]:
    """Options written in a question, one a line (`A. red`, `(A) red`) or in a row (`A: red, B: green`)."""
    options = dict(re.findall(r"(?m)^\s*\(?([A-J])[).:]\s*(.+?)\s*$", question))
    row = re.findall(
        r"(?:^|[\s,(])([A-J])[:.)]\s*(.+?)(?=,?\s+\(?[A-J][:.)]\s|\s*$)", question.splitlines()[-1] if question else ""
    )
    if len(row) > len(options):
        options = {letter: text.rstrip(" ,.") for letter, text in row}
    return options if len(options) > 1 and list(options) == list(LETTERS[: len(options)]) else {}


def letter(reply: str, letters: str, options: dict[str, str] | None = None) -> str | None:
    """The one option letter of `letters` that a reply names, by letter or by the text of one of `options`."""
    text, options = clean(reply), options or {}
    either = f"[{letters}{letters.lower()}]"
    bare_letter = re.fullmatch(rf"\W*({either})\W*", text)
    if bare_letter:
        return bare_letter.group(1).upper()
    stated = [
        m
        for m in re.finditer(
            rf"(?i:{STATEMENT})[\"'(\[]*({either})\b[\"')\]]*(?=\s*(?:[.,:;!\n)-]|$|because|since|as\b|which|not\b|and\b|or\b))",
            text,
        )
    ]
    if stated:
        rest = text[stated[-1].end() :]
        hedge = re.match(rf"\s*(?:,|or|and|/)\s*(?:or\s+|and\s+)?\(?{either}\b(?!\w)(?=\W|$)", rest)
        return None if hedge else stated[-1].group(1).upper()
    if re.search(rf"(?<!\w)\(?[{letters}]\)?\s*(?:,|/|&|\bor\b|\band\b)\s*\(?[{letters}]\b", text):
        return None
    chosen = re.findall(rf"(?i:\b(?:option|choice|choose|select|pick))\s+\(?([{letters}])\b", text)
    if chosen:
        return _only(chosen)
    bracketed = re.findall(rf"[(\[]({either})[)\]]", text)
    leading = re.match(rf"\W*({either})\s*[).:,\]]\s*(?=\S)|\W*([{letters}])\s*(?:-|\n|\u2013|\u2014)\s*\S", text)
    marked = re.findall(rf"(?:^|\s)\(?([{letters}])[).:](?=\s|$)", text)
    if leading:
        first = (leading.group(1) or leading.group(2)).upper()
        return first if set(marked + [b.upper() for b in bracketed]) <= {first} else None
    if bracketed:
        return _only(bracketed)
    followed = re.match(rf"\W*([{letters}])\s+(.+)", text, flags=re.S)
    if followed and normal(followed.group(2)) == normal(options.get(followed.group(1), "\0")):
        return followed.group(1)
    option_letter = option_text(text, options)
    if option_letter:
        return option_letter
    lone_letters = re.findall(rf"(?<![\w'])([{letters}])(?![\w'])(?!\s+[a-z])", text)
    lone_letters += (
        re.findall(rf"(?<![\w'])([{letters.replace('A', '').replace('I', '')}])(?![\w'])", text)
        if len(letters) > 2
        else []
    )
    return _only(lone_letters)


def option_text(reply: str, options: dict[str, str]) -> str | None:
    """The letter of the only option whose text the reply is, or contains without negating it."""
    text = normal(clean(reply))
    normal_texts = {key: normal(value) for key, value in options.items() if normal(value)}
    same = [key for key, value in normal_texts.items() if value == text]
    if same:
        return _only(same)
    if REFUSAL.search(text):
        return None
    matches = [key for key, value in normal_texts.items() if re.search(rf"(?<![\w.]){re.escape(value)}(?![\w])", text)]
    matches = [
        k
        for k in matches
        if not any(normal_texts[k] != normal_texts[o] and normal_texts[k] in normal_texts[o] for o in matches)
    ]
    if len(matches) != 1 or re.search(
        rf"\b(?:not|no|isn't|never|nor)\s+(?:a |an |the )?{re.escape(normal_texts[matches[0]])}", text
    ):
        return None
    return matches[0]


def letters_named(reply: str, letters: str, options: dict[str, str] | None = None) -> frozenset[str]:
    """The set of option letters a reply names; empty where it names none clearly."""
    text = re.sub(rf"(?is)^.*{STATEMENT}", "", clean(reply))
    one = rf"[(\[]?[{letters}{letters.lower()}][)\]]?"
    if re.fullmatch(rf"\W*{one}(?:(?:\s*(?:,|;|&|/|\+)\s*(?:and\s+)?|\s+and\s+|\s+){one})+\W*", text):
        return frozenset(re.findall(rf"\b[{letters}]\b", text.upper().replace("AND", " ")))
    if re.fullmatch(rf"\W*(?:[(\[][{letters}][)\]]\s*)+\W*|\W*[{letters}]{{2,}}\W*", text):
        return frozenset(re.findall(rf"[{letters}]", text))
    single = letter(reply, letters, options)
    return frozenset([single] if single else [])


def short_answer(reply: str, gold: str) -> bool:
    """Whether a free reply gives `gold`: a number by value, any other answer by its words."""
    if normal(gold) in ("yes", "no"):
        return yes_or_no(reply) == normal(gold)
    text = clean(reply)
    stated = re.split(rf"(?i){STATEMENT}", text)
    text = stated[-1] if len(stated) > 1 else text
    if NUMBER.fullmatch(normal(gold).rstrip("%").strip()):
        number = float(normal(gold).rstrip("%").strip().replace(",", ""))
        words = re.sub(r"[a-z]+", lambda m: NUMBER_WORDS.get(m.group(), m.group()), text.lower())
        values = {float(number_text.replace(",", "")) for number_text in NUMBER.findall(words)}
        return len(values) == 1 and abs(values.pop() - number) <= 0.005 + 1e-9 * abs(number)
    answer, said = normal(gold), normal(text)
    if said == answer:
        return True
    if REFUSAL.search(said) or re.search(r"\bor\b|\bnot\b|n't\b", said):
        return False
    return bool(re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", said))


def _only(letters: list[str]) -> str | None:
    distinct = {value.upper() for value in letters}
    return distinct.pop() if len(distinct) == 1 else None
