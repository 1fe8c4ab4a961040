"""A reply as plain text: without reasoning blocks, wrappers, markdown, LaTeX and the punctuation of other scripts."""

from __future__ import annotations

import json
import re
import unicodedata

NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty".split()
    )
}
ARTICLES = frozenset({"a", "an", "the"})
REASONING = ("think", "thinking", "thought", "reasoning")  # blocks in which a model talks to itself
ANSWER_KEYS = ("final_answer", "final answer", "answer", "choice", "option", "prediction", "result", "response")
SIGNS = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u00d7": " x ",
        "\u2212": "-",
        "\u2013": "-",
        "\u2014": " - ",
        "\u2044": "/",
        "\u3002": ".",
        "\u3001": ",",
        "\u300c": '"',
        "\u300d": '"',
        "\u3010": "(",
        "\u3011": ")",
        "\u200b": None,
        "\ufeff": None,
        "\x91": "'",
        "\x92": "'",
        "\x93": '"',
        "\x94": '"',
        "\u221a": " sqrt ",
        "\u2192": " => ",
        "\u21d2": " => ",
        "\u2234": " therefore ",
    }
)
# What other languages say where English says "the answer is", "therefore", "not", "and", "or".
PHRASES = (
    (r"(?i)\b(?:la |las |die |a )?(?:respuestas?|r\u00e9ponse|antwort|risposta|resposta)\b", " answer "),
    (
        r"(?i)(?<=answer ) {0,2}(?:(?:correctas?|correcte|richtige|corretta|correta) )?(?:es|son|est|"
        r"ist|\u00e8|\u00e9)\b(?: la| el| die)?(?: opci\u00f3n| option| opzione)?",
        " is ",
    ),
    (r"\u7b54\u6848|\u7b54\u3048|\u6b63\u89e3|\uc815\ub2f5|\ub2f5\ubcc0", " answer "),
    (r"(?:\u5e94|\u6545|\u6240\u4ee5|\u56e0\u6b64)?\u9009(?:\u62e9|\u9879)?", " answer "),
    (r"\u9009\u9879|\u9078\u629e\u80a2", " option "),
    (r"\u3067\u306f\u3042\u308a\u307e\u305b\u3093|\u3067\u306f\u306a\u3044|\u3058\u3083\u306a\u3044", " is not "),
    (r"[\u5747\u90fd]?(?:\u4e0d\u7b26\u5408|\u4e0d\u6b63\u786e|\u4e0d\u5bf9|\u6392\u9664)", " is wrong "),
    (r"\u4e0d\u662f|\u4e0d\u9009|\u5e76\u975e", " is not "),
    (r"\u662f|\u4e3a|\u5e94\u4e3a|\u306f|\u3067\u3059|\uc740|\ub294", " is "),
    (r"\u56e0\u6b64|\u6240\u4ee5|\u6545|\u3088\u3063\u3066|\u3057\u305f\u304c\u3063\u3066", " therefore "),
    (r"(?<=[A-Z]) y (?:la )?(?=[A-Z]\b)", " and "),
    (r"\u548c|\u4e0e|\u53ca|\u3068", " and "),
    (r"\u6216|\u307e\u305f", " or "),
    (r"\u6b63\u786e|\u6b63\u3057\u3044", " correct "),
    (r"\u9519\u8bef", " wrong "),
)
FOREIGN = re.compile(r"\b(?:respuestas?|antwort|risposta|resposta)\b", re.I)
CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
SPECIAL_TOKENS = re.compile(r"<\|[^|<>]{1,40}\|>|</?s>|<(?:pad|unk|eos|bos|end_of_turn)>|\[/?INST\]", re.I)
SUPERSCRIPT = re.compile("[\u207a\u207b]?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
SHORT = 8  # words; a longer reply that ends without a mark was cut off within a sentence
WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|operatorname|mbox|boldsymbol|bm|"
    r"underline|emph|large)\s*\{([^{}]*)\}"
)
FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}|\\[dt]?frac\s*(\d)\s*(\d)")


def candidates(reply: str) -> list[str]:
    """The texts in which to look for the answer, the surest first: an answer tag, the value of a JSON object, a box,
    the reply.
    """
    text = without_reasoning(SPECIAL_TOKENS.sub(" ", str(reply)))
    found = [_tagged(text, "answer"), _tagged(text, "conclusion"), _json_value(text), _boxed(text)]
    return [plain(each) for each in found if each is not None and each.strip()][:1] + [plain(text)]


def plain(text: str) -> str:
    """The text without LaTeX and markdown, in ASCII punctuation, one space between words."""
    text = SUPERSCRIPT.sub(lambda m: "^" + unicodedata.normalize("NFKC", m.group()), text)
    text = unicodedata.normalize("NFKC", text.translate(SIGNS)).translate(SIGNS)
    text = _without_latex(text)
    if not text.isascii() or FOREIGN.search(text):
        for pattern, english in PHRASES:
            text = re.sub(pattern, english, text)
        text = re.sub(f"(?<=[{CJK}])(?=[A-Za-z0-9(])|(?<=[A-Za-z0-9)])(?=[{CJK}])", " ", text)
    text = re.sub(r"(?<=\d) ?\*{1,2} ?(?=\d)", " x ", text)
    text = re.sub(r"(?m)^\s*\|(.*)\|\s*$", lambda m: m[1].replace("|", ":"), text)  # a row of a table
    text = re.sub(r"(?m)^\s*(?:#{1,6}|>)\s+|^\s*[-*\u2022]\s+(?=\S)", "", text)
    text = re.sub(r"[*`]+|__+|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", "", text)
    text = re.sub(r"[^\S\n]+", " ", text)
    return re.sub(r" ?\n[ \n]*", "\n", text).strip()


def without_reasoning(text: str) -> str:
    """The text without closed reasoning blocks; from one that never closes on there is no answer."""
    for tag in REASONING:
        lower = text.lower()
        end = lower.rfind(f"</{tag}>")
        if end >= 0:
            text = text[end + len(tag) + 3 :]
        start = text.lower().find(f"<{tag}>")
        if start >= 0:
            text = text[:start]
    return text


def _tagged(text: str, tag: str) -> str | None:
    start = text.lower().rfind(f"<{tag}>")
    if start < 0:
        return None
    inner = text[start + len(tag) + 2 :]
    end = inner.lower().find(f"</{tag}>")
    return inner[:end] if end >= 0 else inner


def _json_value(text: str) -> str | None:
    first = re.search(r"[{\[]", text)
    if not first or '"' not in text:
        return None
    end = text.rfind({"{": "}", "[": "]"}[first.group()])
    try:
        value = json.loads(text[first.start() : end + 1], strict=False)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list):
        return ", ".join(map(str, value))
    true = [str(key) for key, each in value.items() if each is True]
    if true and all(isinstance(each, bool) for each in value.values()):
        return ", ".join(true)
    lower = {str(key).lower().strip(): each for key, each in value.items()}
    for key in ANSWER_KEYS:
        if isinstance(lower.get(key), (str, int, float)):
            return str(lower[key])
        if isinstance(lower.get(key), list):
            return ", ".join(map(str, lower[key]))
    return None


def _boxed(text: str) -> str | None:
    """What the last \\boxed{} holds, braces within it included."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    start, depth = text.index("{", start) + 1, 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position]
    return text[start:]


def _without_latex(text: str) -> str:
    text = text.replace("{,}", ",")
    if "\\" not in text and "$" not in text and "^{" not in text:
        return text
    for _ in range(4):  # nested commands, from the inside
        text = WRAPPED.sub(r"\1", text)
        text = FRACTION.sub(lambda m: f"{m[1] or m[3]}/{m[2] or m[4]}", text)
    text = re.sub(r"\\boxed|\\fbox", "", text)
    text = re.sub(r"\\sqrt\s*(?:\[[^\]]*\])?\s*", " sqrt ", text)
    text = re.sub(r"\^\s*\{?\\circ\}?|\\degree|\\circ", "\u00b0", text)
    text = re.sub(r"\\(?:times|cdot)", " x ", text)
    text = re.sub(r"\\(?:[()\[\],;:! ]|left|right|quad|qquad)", " ", text)
    text = re.sub(r"\$(?!\d)|(?<=\S)\$", " ", text)
    text = re.sub(r"\\([%$#&_{}])", r"\1", text)
    return re.sub(r"[{}]", "", text.replace("\\", " "))


def stripped(text: str) -> str:
    """The text from its first letter or digit to its last."""
    start, end = 0, len(text)
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and not text[end - 1].isalnum():
        end -= 1
    return text[start:end]


def content(text: str) -> list[tuple[str, int, int]]:
    """Words, numbers and signs that carry meaning, in lower case, each with its place in `text`: no punctuation, no
    article; numbers without separators, number words as digits.
    """
    found = []
    for match in TOKEN.finditer(text):
        word = match.group().lower().removesuffix("'s")
        capital = (
            word == "a"
            and match.group() == "A"
            and re.search(r"[^.!?\n:\"'( ]\s?$", text[max(0, match.start() - 2) : match.start()])
        )
        if (
            word in ARTICLES
            and not capital
            and (
                len(word) > 1
                or re.match(
                    r" [a-z]" if word != match.group() else r" [A-Za-z]{2}", text[match.end() : match.end() + 3]
                )
            )
        ):
            continue
        if word[0].isdigit():
            word = word.replace(",", "")
        found.append((NUMBER_WORDS.get(word, word), match.start(), match.end()))
    return found


TOKEN = re.compile(
    r"\d+(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|\.\d+|[" + CJK + r"]|[^\W\d_" + CJK + r"]+(?:'[^\W\d_]+)*|"
    r"(?<![\w)])[-+](?=\.?\d)|[%\u00b0^=<>+/\u2264\u2265\u221a\u03c0]"
)


def normal(text: str) -> str:
    """The content words of a short text, with single spaces."""
    return " ".join(word for word, _, _ in content(plain(text)))
