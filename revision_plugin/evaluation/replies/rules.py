"""The rules by which a reply chooses an option, read on a text in which every mention of options is one character.

Denials take a mention away (a denial, a supposition, a list); claims make one the answer, all of them equally strong:
the last in the text counts. Only where nothing is claimed do the weaker rules say something.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FIRST = 0xE000  # a private range of Unicode: one character a mention
LAST = 0xF8FF
M = f"[{chr(FIRST)}-{chr(LAST)}]"
GONE = "\u00a4"  # where a mention was that counts for nothing
WORDS = r"(?:[^\s.,;:!?]+ ){0,%d}?"  # at most so many words of one clause
KEY = r"(?:answers?|ans|choices?|options?|conclusion|solution|selection|letter)"
FINE = (
    r"(?:correct|right|best|true|accurate|appropriate|suitable|fitting|valid|closest|proper|logical|"
    r"plausible|likely|"
    r"reasonable|most \w+|only one (?:that|which)|answer|one that|one which|odd)"
)
OPENING = (
    r"[\s\"'(\[:=>-]*(?:(?:the|an?|only|option|choice|letter|answer|answers|part|number|figure)[\s\"'(\[:-]+){0,3}"
)
END = r"(?=[\s\"')\]]*(?:[.,;:!?\n(-]|$|because|since|as |which|with |and |but |for |due))"


@dataclass(frozen=True)
class Rule:
    """One rule: its name, why it is there, where it applies, and replies that show it, each with its answer (options A
    to D: red, green, blue, dark blue).
    """

    name: str
    why: str
    pattern: re.Pattern
    cases: tuple[tuple[str, str | None], ...]


def _rule(name: str, why: str, pattern: str, *cases: tuple[str, str | None]) -> Rule:
    return Rule(name, why, re.compile(pattern, re.I), cases)


LINKS = r"(?:is|are|was|were|as)\b|:|="
DENIALS = (
    _rule(
        "denied before",
        "a mention after 'not' is no choice; after 'not ... is' it is one: 'The one that does not fit is B'",
        rf"(?:\bnot\b(?! only| just| sure,)|n't\b|\bnever\b|\bneither\b|\bnor\b|\bcannot\b|\bwithout\b|"
        rf"\bno\b(?! doubt| question|[,.:]))"
        rf"(?:[\s\"'(]+(?!{LINKS}|but\b)[^\s\"'(.;:!?,{chr(FIRST)}-{chr(LAST)}]+){{0,6}}[\s\"'(:]+(?P<gone>{M})",
        ("The answer is not C", None),
        ("It is not red, it is green", "B"),
        ("The one that does not fit is B", "B"),
    ),
    _rule(
        "denied by the speaker",
        "'I do not think the answer is C' denies what follows",
        rf"(?:\bnot|n't|\bcannot) (?:think|believe|say|agree|choose|select|pick|support|"
        rf"want|(?:the case|true|correct|right) that)\b[^.;!?\n,{chr(FIRST)}-{chr(LAST)}]{{0,60}}(?P<gone>{M})",
        ("It is not the case that the answer is A.", None),
        ("I do not think the answer is C.", None),
    ),
    _rule(
        "denied after",
        "'B is wrong', 'C does not fit'",
        rf"(?P<gone>{M})(?: option| choice)?[\s\"')\]:,-]*(?:wrong\b|(?:is|are|was|were|seems?|looks?|"
        rf"would be|can be|could be|must be|should be|may be)[\s,]+"
        r"(?:\w+ly |also |just |therefore |thus |both )?(?:not\b(?! only)|wrong|incorrect|false\b|ruled|"
        r"eliminated|excluded|unlikely|impossible|invalid|mistaken|out\b|irrelevant|(?:a|"
        r"the) (?:\w+ )?(?:distractor|trap|mistake)|less )|"
        r"(?:is|are|was|were|does|do|did|would|could|ca|wo)(?:n't| not)\b|cannot\b|fails?\b|x\b|"
        r"but (?:that|this|it)(?: is| would be|'s) (?:wrong|incorrect|not)\b)"
        rf"|(?P<marked>{M})[\s.:)]*[\u274c\u2717]",
        ("B is wrong.", None),
        ("Option A does not match. B matches.", "B"),
    ),
    _rule(
        "set aside",
        "what is ruled out, or preferred less, is not chosen",
        rf"(?:\b(?:eliminat\w+|exclud\w+|discard\w*|reject\w*|rul\w+ out|unlike|except|none of|rather than|"
        rf"instead of|as opposed to|over)\b"
        rf"(?:[\s\"'(]+(?:the|of|in|option|options|choice|choices|answers?|both))*[\s\"'(]+(?P<gone>{M}))",
        ("We can rule out A. The answer is B.", "B"),
        ("B rather than C", "B"),
    ),
    _rule(
        "a wrong answer",
        "a concession names what others choose",
        rf"\b(?:wrong|incorrect|mistaken|tempting|common|misleading) {WORDS % 3}(?:answers?|choices?|"
        rf"options?|mistakes?|pick)\b[^.;!?\n{chr(FIRST)}-{chr(LAST)}]{{0,40}}(?P<gone>{M})",
        ("C. A common wrong choice is A", "C"),
    ),
    _rule(
        "listed",
        "'the options are A, B and C' names what there is, not what is right",
        rf"(?<!correct )(?<!right )(?<!best )(?<!my )\b(?:(?:options|choices)(?: \w+){{0,3}} ?(?:are|"
        rf"include|:)|(?:select|choose)(?: an?)?(?: answers?| one)? from|from (?:the |these )?"
        rf"(?:options|choices))[\s:(]*(?P<gone>{M})",
        ("The options are A, B, C and D.", None),
    ),
    _rule(
        "one or the other",
        "'it could be B, or it could be C' leaves it open",
        rf"(?P<gone>{M})(?=[^.;!?\n{chr(FIRST)}-{chr(LAST)}]{{0,30}},? or (?:it|the answer|maybe|perhaps|"
        rf"possibly|rather)\b)"
        rf"|\bor (?:it|the answer|maybe|perhaps|possibly)\b[^.;!?\n{chr(FIRST)}-{chr(LAST)}]{{0,30}}(?P<other>{M})",
        ("It could be B, or it could be C.", None),
    ),
    _rule(
        "asked",
        "a question names an option without choosing it",
        rf"(?:^|[.!?\n] ?)(?:is|could|might|should|would) (?:it|this|that|"
        rf"the answer) (?:be )?{OPENING}(?P<gone>{M})\??",
        ("Is it C? No.", None),
    ),
    _rule(
        "said under a condition",
        "'if it is red, the answer is A' answers nothing by itself",
        rf"\bif\b[^.;!?\n]{{1,120}},? (?:then )?(?:the )?answer (?:is|would be) (?P<gone>{M})"
        rf"|(?P<unreal>{M}) would (?:be|have) [^.;!?\n]{{0,40}}? if\b"
        rf"|(?P<marked>{M})(?: if|,? otherwise)\b|\botherwise,? (?:it is |the answer is )?(?P<other>{M})",
        ("A if x is positive, otherwise B.", None),
        ("If the light is on, the answer is A; if it is off, the answer is B.", None),
    ),
    _rule(
        "supposed",
        "what is asked or supposed is not stated",
        rf"(?:\b(?:if(?! i (?:have|had) to)|whether|suppose|assuming)\b[^.;!?\n,{chr(FIRST)}-{chr(LAST)}]{{0,60}}"
        r"|\b(?:consider(?:ing)?|let's (?:look|check|consider|examine|start)|check(?:ing)?|examin\w+|"
        r"evaluat\w+|between|versus|compare|comparing|"
        rf"similar to|different from|unclear)\b(?:(?!\b(?:is|are|"
        rf"was)\b)[^.;!?\n,{chr(FIRST)}-{chr(LAST)}]){{0,60}})(?P<gone>{M})",
        ("I cannot say whether it is green", None),
        ("If it were red, we would see it.", None),
    ),
)
CLAIMS = (
    _rule(
        "answer is",
        "'the answer is B': said outright",
        rf"(?<!each )(?<!every )\b{KEY}\b(?<!options)[^.;!?\n{GONE}{chr(FIRST)}-{chr(LAST)}]{{0,70}}?(?:\b(?:is|"
        rf"are|was|as)\b|"
        rf"(?<!might )(?<!could )(?<!may )\bbe\b|:|=|-|\u2192)[\s,]*(?:\w+ly,? |most \w+ |indeed |thus |"
        rf"therefore )?{OPENING}(?P<claim>{M})",
        ("The correct answer is option B.", "B"),
        ("Answer: B", "B"),
        ("The answer is A or B", None),
    ),
    _rule(
        "answer, then a letter",
        "a heading, or a letter right after the word",
        rf"(?:(?:^|[\n.!,] ?)(?:my |the )?(?:final |correct |best |right )*{KEY}|\b(?:final|correct|right|"
        rf"best) (?:answer|option|choice|letter))[\s:.\"'(=-]*(?P<claim>{M}){END}",
        ("### Answer\nB", "B"),
        ("I pick the correct option B.", "B"),
    ),
    _rule(
        "is right",
        "'B is correct', 'green is the best choice'",
        rf"(?P<claim>{M})(?: option| choice)?[\s\"')\]:,-]*(?:(?:is|are|was|would be|seems(?: to be)?|"
        rf"appears(?: to be)?|must be|should be|looks)[\s,]+(?:\w+ly |indeed |also )?(?:the |my |"
        rf"an? )?{FINE}\b"
        rf"|(?:best |correctly |perfectly )?(?:fits|matches|completes|wins)\b|[\s.]*[\u2713\u2714\u2705]|"
        rf"\(?correct\)?[.!]?(?:\n|$))",
        ("B is the right answer.", "B"),
        ("A has dots. B matches.", "B"),
    ),
    _rule(
        "chosen",
        "'I choose B'",
        rf"(?:\b(?:i|we|i'd|i'll|we'd|i'm)\b[^.;!?\n]{{0,40}}?|(?:^|[.!?\n:] ?)(?:(?:so|then|please|"
        rf"therefore|thus|answer),? )?)\b(?:choos\w+|chose|select(?:ed|ing)?|pick(?:ed|ing)?|"
        rf"go(?:ing)? with|went with|go for|opt(?:ed|ing)? for|settle (?:on|for)|vote for|(?:would|'d) say|"
        rf"conclude(?: that)?(?: it is| it's)?|lean(?:ing)? towards?|guess)\b{OPENING}(?P<claim>{M})",
        ("I would choose B", "B"),
        ("The options are A, B, C and D. I choose C", "C"),
    ),
    _rule(
        "concluded",
        "'Therefore, B.'",
        rf"(?:\b(?:therefore|thus|hence|so|finally|consequently|ultimately|overall|conclusion|"
        rf"most likely|probably|guess is|"
        rf"summary)\b[\s,:]*|=> ?){OPENING}(?:(?:it|that|this) (?:is|must be|should be) |"
        rf"it's )?{OPENING}(?P<claim>{M}){END}",
        ("It has no dots, so B.", "B"),
    ),
    _rule(
        "given a reason",
        "'is C, because ...' says why it is that one",
        rf"\b(?:is|are|be)\b{OPENING}(?P<claim>{M})[\s\"')\]]*,? (?:because|since)\b",
        ("The odd one out is C, because A, B and D are alike.", "C"),
    ),
    _rule(
        "only one",
        "'only B keeps the distance' sets B apart from the others",
        rf"\bonly (?:option |choice |answer )?(?P<claim>{M})(?= \w+)",
        ("Of A, B, C and D, only C keeps the order.", "C"),
    ),
    _rule(
        "corrected",
        "a reply may take back what it said first",
        rf"\b(?:wait|actually|correction|sorry|scratch that)\b[\s,:.-]*(?:no[\s,:.-]+)?(?:it's |it is |"
        rf"it should be |that's |make that |i mean(?:t)? )?{OPENING}(?P<claim>{M}){END}",
        ("B... actually, no, it's D.", "D"),
    ),
)
LEADING = _rule(
    "first",
    "a reply that begins with its answer goes on to explain it",
    rf"^[\s\"'(\[]*(?:option|choice|letter|it's|it is|it must be|it has to be|it should be|that's|"
    rf"this is|i think(?: it is| it's)?|probably|definitely|clearly|sure[,!:]?|"
    rf"ok[,!:]?)?[\s\"'(\[:]*(?P<claim>{M})[\s\"')\]]*(?:$|[.,:;!\n(-]|{M}|because|since|as |for |due|"
    rf"which|with |in my)",
    ("B. It is green, as the sky is not shown. A and C are not.", "B"),
    ("A. red B. green C. blue", None),
)
RIGHT = next(rule for rule in CLAIMS if rule.name == "is right")
FIRST_SENTENCE = _rule(
    "stated at once",
    "the first sentence says what it is, the others what the rest would be",
    rf"^[^.!?\n{GONE}{chr(FIRST)}-{chr(LAST)}]{{0,200}}\b(?:is|was|are|were|shows?|depicts?|marks|"
    rf"indicates|represents|denotes|called|named|by)\b"
    rf"(?:\s(?:a|an|the|most|likely|probably|clearly|known|as|called|of|be|"
    rf"by))*[\s\"'(]+(?P<claim>{M})[^{chr(FIRST)}-{chr(LAST)}\n]*?(?:[.!]\s|[.!]?$)",
    ("The sky in the picture is green. Red would be darker.", "B"),
)
ENDING = re.compile(
    rf"(?:\b(?:is|are|was|equals|be|as|belongs to|corresponds to)\s|[=\u2248:] ?)"
    rf"(?:(?:the|an?|of|called|most|likely|option|choice|figure) ?)*[\"'($]*"
    rf"(?P<claim>{M})(?: ?[A-Za-z\u00b0%/]{{1,12}})?[\s.\"')]*$",
    re.I,
)
CONCLUSION = re.compile(r"\W*(?:therefore|thus|hence|so|finally|consequently|overall|in conclusion|in summary)\b", re.I)
EXCEPT = re.compile(
    rf"^\W*(?:the answer is )?all(?: of the| the)?(?: options| answers| choices| of them)? (?:except|"
    rf"but)(?: for)? {OPENING}({M})",
    re.I,
)
UNSURE = re.compile(
    r"\b(?:can't|cannot|can not|unable to|not able to|hard to|impossible to) (?:really )?(?:tell|say|"
    r"determine|decide|answer|identify)\b"
    r"|\bnot (?:sure|certain|clear)\b|n't (?:sure|clear|know)\b|\bunclear\b|\bno idea\b",
    re.I,
)
UNANSWERED = re.compile(r"\b(?:answer|response)\s*:\s*$", re.I)
LOOP = 2  # a reply may correct itself; one that claims more options than these runs in a circle
FEW = 6  # words; a last sentence of no more is an answer by itself
