"""Which options a reply chooses. A reply without a clear answer has none: nothing is ever guessed."""

from __future__ import annotations

import re

from . import rules
from .mentions import AND, Mention, Options, find
from .parts import by_part
from .rules import FIRST, GONE, LAST, M
from .text import SENTENCE, SHORT, candidates, content, plain, stripped
from .yes_no import yes_or_no_in


def choices(reply: str, letters: str, texts: dict[str, str] | None = None, *, several: bool = True) -> frozenset[str]:
    """The options of `letters` that a reply chooses, all of them; empty where it chooses none clearly.

    `texts`: the options' texts by letter (none where the options are parts of the image); `several`: whether more than
    one may be right, so that all that are called right count and not the last alone.
    """
    options = Options(letters, texts or {})
    for text in candidates(reply):
        chosen = _choices_in(text, options, texts or {}, several)
        if not chosen and texts:
            chosen = by_part(text, texts) or chosen
        if chosen is not None:
            return chosen
    return frozenset()


def choice(reply: str, letters: str, texts: dict[str, str] | None = None) -> str | None:
    """The one option that a reply chooses, None where it chooses none or several."""
    chosen = choices(reply, letters, texts, several=False)
    return next(iter(chosen)) if len(chosen) == 1 else None


def _choices_in(text: str, options: Options, texts: dict[str, str], several: bool) -> frozenset[str] | None:
    """What a plain text chooses; empty where it is undecided, None where it names no option at all."""
    whole = _whole(text, options, texts)
    if whole is not None:
        return whole
    words = {key: " ".join(each) for key, each in options.texts.items()}
    if set(words.values()) == {"yes", "no"}:
        said = yes_or_no_in(text)
        by_word = frozenset(key for key, word in words.items() if word == said)
        if by_word:
            return by_word
    if rules.UNANSWERED.search(text):
        return frozenset()
    found = find(text, options)
    if not found or len(found) > LAST - FIRST:
        return None if not found else frozenset()
    lines = _line_by_line(text, options)
    if lines is not None:
        return lines
    marked = original = _marked(text, found)
    excepted = rules.EXCEPT.search(marked)
    if excepted and found[ord(excepted.group(1)) - FIRST].joined in ("", AND):
        return frozenset(options.letters) - frozenset(found[ord(excepted.group(1)) - FIRST].letters)
    for rule in rules.DENIALS:
        while gone := [match.start(match.lastgroup or "gone") for match in rule.pattern.finditer(marked)]:
            characters = list(marked)
            for position in gone:
                characters[position] = GONE
            marked = "".join(characters)
    return _claimed(marked, original, found, options, several)


def _line_by_line(text: str, options: Options) -> frozenset[str] | None:
    """The options of a reply whose every line is one of them with its text, where these are not simply all."""
    lines = text.split("\n")
    found = [find(line, options) for line in lines]
    if len(lines) < 2 or not all(
        len(each) == 1 and each[0].start <= 1 and len(line) - each[0].end <= 1 and each[0].end > 3
        for line, each in zip(lines, found)
    ):
        return None
    letters = [each[0].letters[0] for each in found]
    return frozenset(letters) if len(set(letters)) == len(letters) < len(options.letters) else frozenset()


def _claimed(marked: str, original: str, mentions: list[Mention], options: Options, several: bool) -> frozenset[str]:
    """What a marked text chooses once the denials are gone: by the last claim, else by the weaker rules. `original` is
    the text with all its marks.
    """

    def at(place: int) -> Mention:
        return mentions[ord(marked[place]) - FIRST]

    stated = {at(match.start("claim")).letters for match in rules.CLAIMS[0].pattern.finditer(marked)}
    if len(stated) > rules.LOOP:
        return frozenset()
    claims = [match.start("claim") for rule in rules.CLAIMS for match in rule.pattern.finditer(marked)]
    if not claims:
        return _unclaimed(_without_list(marked, original, mentions, options), mentions)
    right = [match.start("claim") for match in rules.RIGHT.pattern.finditer(marked)]
    if several and max(claims) in right:  # "A: correct, B: wrong, C: correct"
        return frozenset().union(*(_said(at(place)) for place in right))
    return _said(at(max(claims)))


def _unclaimed(marked: str, mentions: list[Mention]) -> frozenset[str]:
    """What a reply chooses that claims nothing outright: by how it begins, how it ends, its last sentence, or because
    it speaks of one option only.
    """
    sentences = SENTENCE.split(marked)
    if rules.UNSURE.search(sentences[-1]):
        return frozenset()
    first = rules.LEADING.pattern.match(marked) or rules.FIRST_SENTENCE.pattern.match(marked)
    end = rules.ENDING.search(marked)
    if first and not (end and mentions[ord(first.group("claim")) - FIRST].joined):  # "A, B and C: all of the above"
        return _said(mentions[ord(first.group("claim")) - FIRST])
    if end:
        return _said(mentions[ord(end.group("claim")) - FIRST])
    if _cut_off(marked) or _is_numbered(marked):
        return frozenset()
    last = _mentions_in(sentences[-1], mentions)
    short = len(sentences[-1].split()) <= rules.FEW
    by_letter = not any(mention.by_text for mention in last)
    concludes = short or by_letter or rules.CONCLUSION.match(sentences[-1])
    pool = last if concludes and _agree(last) else _mentions_in(marked, mentions)
    return _said(pool[0]) if _agree(pool) else frozenset()


def _agree(mentions: list[Mention]) -> bool:
    """Whether all of these, and at least one, name the same options."""
    return len({frozenset(mention.letters) for mention in mentions}) == 1


def _is_numbered(marked: str) -> bool:
    """Whether the reply is a numbered list of options: answers to several questions, or a loop."""
    return len(re.findall(rf"(?:^|\n)\d{{1,2}}[.)] ?{M}", marked)) > 1


def _mentions_in(marked: str, mentions: list[Mention]) -> list[Mention]:
    return [mentions[ord(each) - FIRST] for each in marked if FIRST <= ord(each) <= LAST]


def _cut_off(marked: str) -> bool:
    """Whether a long reply stops within a sentence: what it named until then it may only have weighed."""
    ended = re.search(rf"(?:[.!?)\]\"']|{M})\s*$", marked)
    return not ended and (len(marked.split()) > SHORT or marked.endswith((",", ";", ":")))


def _said(mention: Mention) -> frozenset[str]:
    return frozenset(mention.letters) if mention.joined in ("", AND) else frozenset()


def _without_list(marked: str, original: str, mentions: list[Mention], options: Options) -> str:
    """The text without a list of options from A on, each with its text or by itself, at its head or in its middle."""
    places = [place for place, each in enumerate(original) if FIRST <= ord(each) <= LAST]
    letters = [mention.letters for mention in mentions]
    if ("A",) not in letters:
        return marked
    start = letters.index(("A",))
    run = 1
    while start + run < len(letters) and letters[start + run] == (options.letters[run : run + 1],):
        run += 1
    if run < max(2, min(3, len(options.letters))):
        return marked
    listed = set(places[start : start + run])
    if sum(marked[place] == GONE for place in listed) > 1:
        return marked  # "neither A nor B, but C": they are spoken of, not listed
    return "".join(GONE if place in listed else each for place, each in enumerate(marked))


def _marked(text: str, found: list[Mention]) -> str:
    """The text with one character for every mention."""
    parts, end = [], 0
    for number, mention in enumerate(found):
        parts += [text[end : mention.start], chr(FIRST + number)]
        end = mention.end
    return "".join(parts) + text[end:]


def _whole(text: str, options: Options, texts: dict[str, str]) -> frozenset[str] | None:
    """The answer of a reply that is nothing but letters, or an option's text."""
    bare = stripped(text)
    bare = stripped(re.sub(r"^(?:option|choice|answer)\b", "", bare, flags=re.I))
    if len(bare) == 1 and bare.upper() in options.letters:
        return frozenset(bare.upper())
    if re.fullmatch(r"[A-Z]{2,}", bare) and set(bare) <= set(options.letters):
        same_words = [word for word, _, _ in content(text)]
        if not any(words == same_words for words in options.texts.values()):
            return frozenset(bare) if len(set(bare)) == len(bare) else frozenset()
    exact = [key for key, value in texts.items() if plain(value) and plain(value) == text]
    words = [word for word, _, _ in content(text)]
    same = [key for key, each in options.texts.items() if words and each == words]
    for keys in (exact, same):
        if len(keys) == 1:
            return frozenset(keys)
    lower = re.fullmatch(r"[a-z](?:(?: ?[,;&/+] ?(?:and )?| and )[a-z])+", bare)
    if lower:
        named = frozenset(letter.upper() for letter in re.findall(r"\b[a-z]\b", text))
        return named if named <= set(options.letters) and "/" not in text else frozenset()
    return None
