"""What of a caption is embedded beside the whole: its sentences, its clauses, or what a function of the user's says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .._common.files import hash_file
from .._common.modules import import_of_user, module_record
from ..errors import RevisionError, first_line, shown
from .clauses import clause_spans
from .sentences import sentence_spans
from .texts import text_problem

LANGUAGES = frozenset(
    "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en "
    "eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja "
    "jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb "
    "nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq "
    "sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu".split()
)
DEFAULT_LANGUAGE = "en"
FORMS = "give sentences[:LANG], clauses[:LANG] or python:MODULE:FUNCTION"
RULES = {"sentences": ("sentences",), "clauses": ("sentences", "clauses")}  # the files whose rules each follows


@dataclass(frozen=True)
class TextViews:
    """How a caption is split into the parts that are embedded after the whole of it.

    `str(views)` is its spec, with the language. `identity` (JSON) is all that the parts depend on, the text aside: a
    run that goes on with another's must have the same. Made by `parse`; can be pickled, and used by several threads at
    once if the user's function, where there is one, can.
    """

    spec: str
    identity: dict[str, Any] = field(hash=False)
    parts: Callable[[str], list[str]] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.spec

    @classmethod
    def parse(cls, spec: str) -> TextViews:
        """`sentences` or `clauses`, with `:LANG` (an ISO 639-1 code, `en` if left out), or `python:MODULE:FUNCTION`.

        The last imports MODULE, searched in the working directory too, so name only code you trust: FUNCTION(text)
        gives a list of strings, none of them blank. Raises RevisionError for anything else.
        """
        kind, colon, rest = spec.partition(":")
        if kind == "python":
            return cls._of_function(spec, rest)
        if kind not in RULES:
            raise RevisionError(f"views '{shown(spec)}': {FORMS}")
        language = rest if colon else DEFAULT_LANGUAGE
        if language not in LANGUAGES:
            raise RevisionError(
                f"views '{shown(spec)}': '{shown(language)}' is no ISO 639-1 code of a language, such as en, de or zh"
            )
        rules = {name: hash_file(Path(__file__).with_name(f"{name}.py")) for name in RULES[kind]}
        identity = {"spec": f"{kind}:{language}", "sentencex": version("sentencex"), "rules": rules}
        return cls(f"{kind}:{language}", identity, partial(_sentences_or_clauses, kind == "clauses", language))

    @classmethod
    def _of_function(cls, spec: str, rest: str) -> TextViews:
        module_name, _, name = rest.partition(":")
        if not re.fullmatch(r"\w+(\.\w+)*", module_name) or not name:
            raise RevisionError(f"views '{shown(spec)}': write python:MODULE:FUNCTION")
        function = getattr(import_of_user(f"views '{shown(spec)}'", module_name), name, None)
        if not callable(function):
            raise RevisionError(f"views '{shown(spec)}': {module_name} has no function '{shown(name)}'")
        parts = partial(_of_user, f"views '{shown(spec)}': {shown(name)}", function)
        return cls(spec, {"spec": spec, **module_record(module_name)}, parts)

    def split(self, text: str) -> list[str]:
        """The parts of `text` in order, each stripped and not blank; none where it has only one.

        Raises RevisionError for text that UTF-8 cannot hold, and where the user's function fails or gives something
        else.
        """
        parts = self.parts(text)
        return parts if len(parts) > 1 else []


def _sentences_or_clauses(clauses: bool, language: str, text: str) -> list[str]:
    spans = sentence_spans(text, language)
    if clauses:
        spans = [clause for sentence in spans for clause in clause_spans(text, sentence, language)]
    return [part for start, end in spans if (part := text[start:end].strip())]


def _of_user(says: str, function: Callable[[str], object], text: str) -> list[str]:
    try:
        parts = function(text)
    except Exception as error:
        raise RevisionError(
            f"{says} fails at the text '{shown(text[:60])}': {type(error).__name__}: {first_line(error)}"
        ) from error
    if not isinstance(parts, list) or not all(isinstance(part, str) and part.strip() for part in parts):
        raise RevisionError(
            f"{says} gave {shown(repr(parts)[:80])} for the text '{shown(text[:60])}'; "
            "it must give a list of strings that are not blank"
        )
    for part in parts:
        problem = text_problem(part)
        if problem:
            raise RevisionError(f"{says} gave a part of the text '{shown(text[:60])}' that {problem}")
    return [part.strip() for part in parts]
