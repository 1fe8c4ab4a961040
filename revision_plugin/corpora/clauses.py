"""Clauses of a sentence: where punctuation or a coordinating conjunction parts it."""

from __future__ import annotations

import re
from bisect import bisect_right

from .sentences import URL, Span, join_short, letters

# coordinating conjunctions, by ISO 639-1 code; text in another language is parted by punctuation alone
CONJUNCTIONS = {
    "ar": "و أو لكن ولكن بل ثم بينما",
    "de": "und oder aber sowie sondern",
    "en": "and or but nor while whereas as_well_as",
    "es": "y e o u pero sino mientras así_como",
    "fr": "et ou mais ainsi_que tandis_que",
    "hi": "और या तथा एवं लेकिन मगर किंतु किन्तु परंतु परन्तु जबकि",
    "id": "dan atau tetapi tapi sedangkan serta",
    "it": "e ed o od oppure ma mentre",
    "ko": "그리고 또는 하지만 그러나 및",
    "nl": "en of maar terwijl evenals",
    "pl": "i oraz lub albo ale a",
    "pt": "e ou mas enquanto assim_como",
    "ru": "а_также а и или либо но",
    "sv": "och eller men samt medan",
    "tr": "ve veya ya_da ama fakat",
    "vi": "và hoặc nhưng còn",
}
# in scripts without spaces: conjunctions that are part of no other word, and `and` where a number opens a phrase
UNSPACED = {
    "ja": "そして|および|及び|ならびに|または|しかし",
    "zh": "以及|并且|而且|但是|或者|同时|[和与及](?=[一二两三四五六七八九十几数多每另])",
}
# words that describe, which stand in pairs ("black and white", "a large, fluffy dog"): their stems, and their endings
DESCRIBING = {
    "de": (
        "schwarz weiß weiss rot blau grün gelb braun grau rosa lila silbern golden groß klein alt neu jung lang hell "
        "dunkel schön",
        "e er es en em",
    ),
    "en": (
        "black white red blue green yellow brown grey gray orange pink purple gold golden silver beige tan big large "
        "small little tiny huge tall short long old young new modern beautiful pretty cute fluffy furry shiny bright "
        "dark light soft warm cold wooden round square happy quiet calm dirty clean",
        "",
    ),
    "es": (
        "negr blanc roj azul verd amarill marron marrón gris ros naranj dorad plat grand pequeñ viej nuev bonit",
        "o a os as e es s",
    ),
    "fr": (
        "noir blanc blanch roug bleu vert jaun brun gris ros violet orang doré argenté grand petit vieux vieil "
        "nouveau nouvel beau bel",
        "e s es le les",
    ),
    "hi": ("काल सफ़ेद सफेद लाल नील हर पील भूर गुलाबी बड़ छोट पुरान नय", "ा ी े"),
    "it": (
        "ner bianc bianch ross azzurr blu verd giall marron grigi ros arancion grand piccol vecchi nuov bell",
        "o a i e",
    ),
    "nl": (
        "zwart wit witt rood rod blauw groen geel gel bruin grijs grijz roze paars oranje groot grot klein oud",
        "e",
    ),
    "pl": ("czarn biał czerwon niebiesk zielon żółt brązow szar duż mał star now", "y a e i ych ego ej ą ie"),
    "pt": (
        "pret negr branc vermelh azul azui verd amarel marrom cinz ros laranj dourad grand pequen velh nov bonit",
        "o a os as e es s",
    ),
    "ru": (
        "черн чёрн бел красн син голуб зелен зелён желт жёлт коричнев сер розов больш маленьк стар нов",
        "ый ая ое ые ий яя ее ие ой ого ей ых их ом ым ыми ую",
    ),
    "sv": ("svart vit röd blå grön gul brun grå rosa lila stor lit liten gammal gaml ny", "a t tt"),
}

SEPARATOR = re.compile(
    r"(?<=\s)(?:[-–—]{1,3}|[|·])(?=\s)"
    r"|[,;:](?=\s)|[،؛՝፣፤፥，、；：]|——"
    # a comma that its writer set without a space, a dash that English sets so
    r"|(?<=[^\W\d_]),(?=[^\W\d_])|(?<=[^\W\d_])—(?=[^\W\d_])"
)
PARTS_NUMBERS = ";؛；|·"  # the others stand within numbers, times, dates and sizes too
WINDOW = 40  # characters, in which the neighbours of a mark are looked for

OPENERS = "([{（【「『《〈„‘"
# what a mark closes; one that closes nothing here opens, where it opens in some language
CLOSES = {
    ")": "(",
    "]": "[",
    "}": "{",
    "）": "（",
    "】": "【",
    "」": "「",
    "』": "『",
    "》": "《",
    "〉": "〈",
    "’": "‘",
}
CLOSES |= {"“": "„", "”": "“„”", "»": "«", "«": "»", '"': '"', "'": "'"}
TURNING = '“”«»"'
# an apostrophe within a word or after one whose quotation was not opened is none of them
MARK = re.compile(r"[()\[\]{}（）【】「」『』《》〈〉„“”«»‘\"]|’(?!\w)|(?<!\S)'(?=[^\W\d])|(?<=[^\s'])'(?!\w)")

UNSPACED_SCRIPT = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
TOKEN = re.compile(r"\S+")


def _whole_words(words: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(rf"(?<!\S)(?:{words.replace(' ', '|').replace('_', ' ')})(?!\S)", flags)


NEVER = re.compile(r"(?!)")
CONJUNCTION = {language: _whole_words(words) for language, words in CONJUNCTIONS.items()}
# titles in English set them with a capital; elsewhere a capital is a name (die Oder)
CONJUNCTION["en"] = _whole_words(f"{CONJUNCTIONS['en']} {CONJUNCTIONS['en'].title()}")
CAPITALS = {language: _whole_words(words, re.IGNORECASE) for language, words in CONJUNCTIONS.items()}
CONJUNCTION |= {language: re.compile(words) for language, words in UNSPACED.items()}
DESCRIBES = {
    language: re.compile(f"(?:{stems.replace(' ', '|')})(?:{endings.replace(' ', '|')})?")
    for language, (stems, endings) in DESCRIBING.items()
}


def clause_spans(text: str, sentence: Span, language: str) -> list[Span]:
    """The clauses of the sentence that stands at `sentence` in `text`, in order, as spans without the punctuation and
    the conjunctions between them; the sentence itself where nothing parts it.

    Nothing parts quotations, parentheses, numbers, addresses, or two words that describe. A conjunction parts what has
    more than one word on both sides.
    """
    words = text[slice(*sentence)]
    conjunction = CONJUNCTION.get(language, NEVER)
    if words.isupper():
        conjunction = CAPITALS.get(language, conjunction)
    describes = DESCRIBES.get(language, NEVER)
    kept = _kept_whole(words)
    clauses: list[Span] = []
    start = 0
    for mark in [*(each for each in SEPARATOR.finditer(words)), None]:
        if mark and (_inside(kept, mark.start()) or not _parts(words, mark, conjunction, describes)):
            continue
        end = mark.start() if mark else len(words)
        clauses += _between_conjunctions(words, (start, end), conjunction, describes, kept)
        start = mark.end() if mark else end
    offset = sentence[0]
    return join_short(text, [(offset + start, offset + end) for start, end in clauses])


def _parts(words: str, mark: re.Match[str], conjunction: re.Pattern[str], describes: re.Pattern[str]) -> bool:
    """Whether a punctuation mark stands between two clauses."""
    before = words[max(0, mark.start() - WINDOW) : mark.start()].split()[-1:]
    after = words[mark.end() : mark.end() + WINDOW].split()
    if not before or not after:
        return True
    if before[0][-1].isdigit() and after[0][0].isdigit():
        return mark[0] in PARTS_NUMBERS
    if mark[0] != ",":
        return True
    following = after[1:] if conjunction.fullmatch(after[0]) else after
    return not (following and _describe(describes, before[0], following[0]))


def _describe(describes: re.Pattern[str], *words: str) -> bool:
    return all(describes.fullmatch(word.strip(",.;:!?\"'()").lower()) for word in words)


def _between_conjunctions(
    words: str, span: Span, conjunction: re.Pattern[str], describes: re.Pattern[str], kept: list[Span]
) -> list[Span]:
    """What stands between the conjunctions of a stretch without punctuation; one that opens or ends it is left out."""
    start, end = span
    found: list[Span] = []
    for match in conjunction.finditer(words, start, end):
        if _inside(kept, match.start()):
            continue
        before = words[max(start, match.start() - WINDOW) : match.start()].split()[-1:]
        after = words[match.end() : min(end, match.end() + WINDOW)].split()[:1]
        if not before and start > 0:
            start = match.end()
        elif not after and end < len(words):
            end = match.start()
        elif before and after and not _describe(describes, *before, *after):
            found.append(match.span())
    parts: list[Span] = []
    for (first, last), (following, _) in zip(found, [*found[1:], (end, end)]):
        if _has_words(words, start, first) and _has_words(words, last, following):
            parts.append((start, first))
            start = last
    parts.append((start, end))
    return [(first, last) for first, last in parts if words[first:last].strip()]


def _has_words(words: str, start: int, end: int) -> bool:
    """Whether more than one word stands there; three letters of a script without spaces are more than one."""
    count = 0
    for token in TOKEN.finditer(words, start, end):
        if letters(token[0], 1):
            count += 2 if UNSPACED_SCRIPT.search(token[0]) and letters(token[0], 3) == 3 else 1
        if count > 1:
            return True
    return False


def _kept_whole(words: str) -> list[Span]:
    """Spans of addresses, quotations and parentheses, outermost only, in order. One around all of the words is none."""
    opened: list[tuple[str, int]] = []
    counts: dict[str, int] = {}  # of the marks that are open
    pairs = [match.span() for match in URL.finditer(words)]
    for match in MARK.finditer(words):
        mark, place = match[0], match.start()
        closes = [each for each in CLOSES.get(mark, "") if counts.get(each)]
        if closes:
            while True:
                opener, start = opened.pop()
                counts[opener] -= 1
                if opener in closes:
                    break
            pairs.append((start, place + 1))
        elif mark in OPENERS or (mark in TURNING and not _is_inch(words, match)) or _opens_word(words, match):
            opened.append((mark, place))
            counts[mark] = counts.get(mark, 0) + 1
    first = next((place for place, each in enumerate(words) if each.isalnum()), 0)
    last = next((place for place in range(len(words) - 1, -1, -1) if words[place].isalnum()), 0)
    merged: list[Span] = []
    for start, end in sorted(pairs):
        if start < first and end > last:
            continue
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _is_inch(words: str, mark: re.Match[str]) -> bool:
    return mark[0] == '"' and words[mark.start() - 1 : mark.start()].isdigit()


def _opens_word(words: str, mark: re.Match[str]) -> bool:
    return mark[0] == "'" and words[mark.end() : mark.end() + 1].isalpha()


def _inside(spans: list[Span], place: int) -> bool:
    index = bisect_right(spans, (place, len(spans) and spans[-1][1])) - 1
    return index >= 0 and place < spans[index][1]
