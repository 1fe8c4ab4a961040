"""Where a reply speaks of an option: by its letter, by its letter and text, or by its text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .text import content, plain

# A bare letter is an option only after one of these words, or after punctuation: after any other word it is a label
# or a unit (point B, vitamin C, 7 A).
BEFORE = frozenset(
    "it's that's leaves remains leaving answer answers option options choice choices letter letters "
    "is be are was as would choose choosing chose chosen "
    "select selecting selected pick picking picked with for so thus therefore hence and or not both either neither nor "
    "than of to that say think believe guess conclude mean means only also keeps definitely probably likely actually "
    "obviously clearly finally correct right wrong incorrect but if whether between from on except over versus vs the "
    "consider eliminate exclude reject rule out because since".split()
)
# Nouns that name an option where the options are parts of the image.
PARTS = frozenset(
    "figure shape diagram image picture box pattern piece set candidate panel tile object block item "
    "cube net pictogram "
    "graphic drawing one number symbol proposal proposals figures shapes boxes diagrams images sequence".split()
)
# A letter followed by one of these is an option and no article: "A is right", "A because it barks".
AFTER = frozenset(
    "is are was would will seems looks appears must should can could cannot can't isn't doesn't does because since as "
    "and or but not which for due if with in has fits matches shows rather instead completes follows represents "
    "describes".split()
)
LETTER = re.compile(r"([(\[]) ?([A-Za-z]) ?[)\]]|(?<![\w'])([A-Za-z])(?![\w'])")
RUN = re.compile(r"(?i:\b(?:answers?|options?|choices?|letters?|are|is)\b[\s:(\"']*|^|\n)([A-Z]{2,8})(?![\w'])", re.M)
PART_CHOSEN = re.compile(
    r"(?:^|[.!?\n:]\s*|\b(?:is|are|be|choose|select|pick|therefore|thus|so|"
    r"hence),?\s+)(?:the\s+)?(?:correct |right |next )?[A-Za-z]+ $",
    re.I,
)
ORDINALS = ("first", "second", "third", "fourth", "fifth", "last")
ORDINAL = re.compile(rf"\b({'|'.join(ORDINALS)}) (?:option|choice|answer)\b(?! (?:is|looks) not)", re.I)
GLUED = re.compile(r"(?i:\b(?:answer|option|choice))\W{0,3}([A-Z])(?=[-(]?\d)")
AND, OR, RANGE = "and", "or", "to"


@dataclass(frozen=True)
class Mention:
    """Options that a reply names together, and how: `joined` by "and", "or" or as a range ("to"), "" for one."""

    start: int
    end: int
    letters: tuple[str, ...]
    joined: str = ""
    by_text: bool = False


class Options:
    """The options of one question, for finding them in replies.

    `letters` are all that count; `texts` are the texts of those that have one; `in_image`: no option has a text.
    """

    def __init__(self, letters: str, texts: dict[str, str]):
        self.letters = letters
        self.texts = {key: [word for word, _, _ in content(plain(text))] for key, text in texts.items()}
        # A text that is a letter of the options itself says nothing: "D" is option D, whatever stands for it.
        names = {letter.lower() for letter in letters}
        self.own_texts = {key: words for key, words in self.texts.items() if words}
        self.texts = {
            key: words for key, words in self.own_texts.items() if not (len(words) == 1 and words[0] in names)
        }
        self.in_image = not self.texts
        self.by_first_word: dict[str, list[tuple[list[str], str]]] = {}
        for key, words in self.texts.items():
            self.by_first_word.setdefault(words[0], []).append((words, key))
        for entries in self.by_first_word.values():
            entries.sort(key=lambda entry: -len(entry[0]))


def find(text: str, options: Options) -> list[Mention]:
    """All mentions of options in a plain text, in order, those that are joined as one."""
    words = content(text)
    place = {start: number for number, (_, start, _) in enumerate(words)}
    found = _by_text(text, words, options)
    for match in LETTER.finditer(text):
        letter = (match.group(2) or match.group(3)).upper()
        if letter not in options.letters:
            continue
        end = _with_own_text(text, match.end(), letter, words, place, options)
        if (end > match.end() and not letter == "A" != text[match.start()]) or _is_option(text, match, options):
            found.append(Mention(match.start(), end, (letter,)))
    for match in RUN.finditer(text):
        letters = match.group(1)
        if set(letters) <= set(options.letters) and list(letters) == sorted(set(letters)):
            found.append(Mention(match.start(1), match.end(1), tuple(letters), AND))
    for match in GLUED.finditer(text):  # "Answer: B2" where B's text begins with 2
        said = [word for word, _, _ in content(text[match.end() : match.end() + 80].split("\n")[0])]
        if said and options.own_texts.get(match.group(1), [])[: len(said)] == said:
            found.append(Mention(match.start(1), match.end(1), (match.group(1),)))
    for match in ORDINAL.finditer(text):
        place_in_order = ORDINALS.index(match.group(1).lower())
        if place_in_order < len(options.letters):
            letter = options.letters[-1 if match.group(1).lower() == "last" else place_in_order]
            found.append(Mention(match.start(), match.end(), (letter,)))
    found.sort(key=lambda mention: (mention.start, -mention.end))
    apart: list[Mention] = []
    for mention in found:  # the longer of two that overlap
        if apart and mention.start < apart[-1].end:
            if mention.end > apart[-1].end and apart[-1].by_text and mention.by_text:
                apart[-1] = mention
            continue
        apart.append(mention)
    return _joined(text, apart)


def _by_text(text: str, words: list, options: Options) -> list[Mention]:
    found, number = [], 0
    while number < len(words):
        for option, _ in options.by_first_word.get(words[number][0], ()):
            if [word for word, _, _ in words[number : number + len(option)]] == option:
                start, end = words[number][1], words[number + len(option) - 1][2]
                if _whole_number(text, start, end):
                    same = [k for k, each in options.texts.items() if each == option]
                    found.append(Mention(start, end, tuple(same), OR if len(same) > 1 else "", by_text=True))
                    number += len(option) - 1
                    break
        number += 1
    return found


def _whole_number(text: str, start: int, end: int) -> bool:
    """Whether a number at the edge of a text is not a part of a larger one (3 in 3/4, 10 in 10^6)."""
    before, after = text[max(0, start - 3) : start], text[end : end + 4]
    if text[end - 1].isdigit() and re.match(r"[/^:]\d|\.\d|,\d| ?x ?10", after):
        return False
    return not (text[start].isdigit() and re.search(r"[A-Za-z]$|\d[/^:.,]$|[\d)][-+]$|(?:^|[\s(=])-$", before))


def _is_option(text: str, match: re.Match, options: Options) -> bool:
    """Whether a letter in the text stands for an option, and is no article, pronoun, unit, label or variable."""
    before, after = text[max(0, match.start() - 24) : match.start()], text[match.end() : match.end() + 24]
    if match.group(1):  # in brackets; f(A) is a function
        return not before or not before[-1].isalnum()
    letter = match.group(3)
    if re.search(r"[+*/=^_<>|\\\u00b0&'\"\u2019$#@]$|[+*^_<>|\\]\s$|\w-$|\d\s?$|\([^()]*[+*/^]$", before):
        slash = re.search(r"(?:^|[\s(])(?!N/)[A-Z] ?/ ?$|(?:^|[\s(-])[A-Z]-$", before) or re.search(
            r"(?:=>|>|=|[:\s(]\"|^\"|[:\s]')\s?$", before
        )
        if not slash:
            return False
    if re.match(r"[+*^_<>=|\\\u00b0$@]|'\w|\s?[+*^<>=]\s?\w|-\w|/\w\w|\(|\.\w|:\d", after) and not re.match(
        r"/[A-Z]\b|-[A-Z]\b", after
    ):
        return False
    word = re.search(r"([A-Za-z']+)[\s\"(:]*$", before)
    next_word = re.match(r"\s+([A-Za-z']+)", after)
    if letter.islower():
        return _lower_case_is_option(before, after)
    said = re.search(r"(?:answer|option|choice)[\s:(\"]*(?:is|:)?[\s:(\"]*$|\bonly $", before, re.I)
    if next_word and next_word.group(1).islower() and next_word.group(1) not in AFTER and not said:
        return False  # an article, a pronoun, a note or a letter of something else: "A cat", "B flat", "C pairs with G"
    if letter == "I" and next_word and not said:
        return False
    if word and re.search(r"[A-Za-z']\s$", before) and word.group(1) not in options.letters:
        last = word.group(1).lower()
        named = last == "by" and re.search(
            r"\b(?:indicated|labell?ed|represented|shown|marked|denoted|given) by $", before
        )
        return (
            bool(named)
            or last in BEFORE
            or (
                options.in_image
                and last in PARTS
                and bool(PART_CHOSEN.search(before) or re.match(r" (?:matches|fits|completes)", after))
            )
        )
    return True


def _lower_case_is_option(before: str, after: str) -> bool:
    ended = re.match(r"\s*(?:[.,;:!?)\"']+(?:\s|$)|\n|$)", after)
    if not before.strip(" \"'(\n"):  # at the start: a mark, or nothing else in the reply
        return bool(re.match(r"[.):]\s|\s*[.)]?\s*$", after))
    said = re.search(
        r"(?:answer|ans|option|choice|choose|select|pick|letter)(?: is)?[\s:(\"']*$|answer would be $", before, re.I
    )
    return bool(said and ended)


def _with_own_text(text: str, end: int, letter: str, words: list, place: dict, options: Options) -> int:
    """The end of a letter with its own option text after it, so that letters within the text count for nothing."""
    option = options.own_texts.get(letter)
    mark = re.match(r"[\s.):\]=-]*(?:(?:a|an|the|The|A|An) )?[\"'($\[]*", text[end : end + 12])
    if not option or not mark:
        return end
    start = place.get(end + mark.end())
    if start is None or [word for word, _, _ in words[start : start + len(option)]] != option:
        return end
    return words[start + len(option) - 1][2]


def _joined(text: str, mentions: list[Mention]) -> list[Mention]:
    """Neighbours that a comma, "and", "or", a slash or a dash joins, as one mention."""
    groups: list[Mention] = []
    for mention in mentions:
        between = text[groups[-1].end : mention.start] if groups else ""
        joint = groups and re.fullmatch(
            r"\s?(?:,\s?(?:and|or|&)?|;|(?:,? ?)but also|and/or|and|or|&|/|-|to|through|or (?:option|"
            r"choice)|and (?:option|choice)|\s|)\s?(?:both|either|option|options)?\s?",
            between,
        )
        stated = groups and re.search(
            r"(?:is|are|:|answer|choose|select|pick)[\s(\"]*$",
            text[max(0, groups[-1].start - 12) : groups[-1].start],
            re.I,
        )
        if (
            joint
            and stated
            and between.strip() == ","
            and re.match(r"\s*(?:is|was|isn't|does|doesn't|has|looks|seems)\b", text[mention.end : mention.end + 12])
        ):
            joint = None  # a new clause: "the answer is B, A is wrong"
        if not joint or (not between.strip() and not _run(groups[-1], mention)):
            groups.append(mention)
            continue
        last = groups[-1]
        word = OR if re.search(r"or\b|/", between) else RANGE if re.search(r"-|to|through", between) else AND
        kind = OR if OR in (word, last.joined, mention.joined) else RANGE if RANGE in (word, last.joined) else AND
        letters = tuple(dict.fromkeys(last.letters + mention.letters))
        if 1 < len(letters) < len(last.letters + mention.letters) and not mention.by_text:
            kind = OR  # a loop: "A B C D A B"
        kind = "" if len(letters) == 1 else kind
        groups[-1] = Mention(last.start, mention.end, letters, kind, last.by_text and mention.by_text)
    return groups


def _run(last: Mention, mention: Mention) -> bool:
    """Letters side by side with nothing but space between: "A B C", "(A)(C)"."""
    return not last.by_text and not mention.by_text and mention.end - mention.start <= 3
