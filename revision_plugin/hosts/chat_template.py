"""Prompts from a tokenizer's own chat template, cut into pieces so that a label mask is exact to the token.

The template is rendered with marks in place of the turns; what stands between the marks is the template's, and the
turns themselves are put back. So it is known of every character whether the model is to learn it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import TemplateError

from ..errors import RevisionError, first_line

SYSTEM = "You are a helpful language and vision assistant."  # the papers'
# Llama 3.1 and others write the day into the prompt; a training must be the same on another day. It is the day that
# Llama's own template falls back on. Within a template the macro takes the place of transformers' function.
DAY = datetime(2024, 7, 26)
DAY_PARTS = "aAbBdmyYHIMSpjxXc"
DAY_MACRO = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('%{part}', '{DAY.strftime('%' + part)}')" for part in DAY_PARTS)
    + " }}{% endmacro %}{{ '' }}"
)
# of models that think aloud unless they are told not to: the replies of LLaVA's data hold no thoughts
KEYWORDS: tuple[dict[str, Any], ...] = ({"enable_thinking": False}, {"thinking": False})
THOUGHT, THOUGHT_END = "<think>", "</think>"
USER, ASSISTANT = "user", "assistant"
TRIAL = ((USER, "a"), (ASSISTANT, "b"), (USER, "c"), (ASSISTANT, "d"))
REMEDY = "give a conversation template by its name with --version"

Turn = tuple[str, str]  # role and text
Piece = tuple[str, bool]  # text, and whether it is learned


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer's chat template, with what it is rendered with: keywords, and a system message if it takes one."""

    tokenizer: Any
    keywords: tuple[tuple[str, Any], ...]
    system: str | None

    @property
    def text(self) -> str:
        """The template itself."""
        return chat_template_text(self.tokenizer) or ""

    @property
    def hash(self) -> str:
        """What the prompts depend on, as a hash."""
        text = repr((chat_template_text(self.tokenizer), sorted(self.keywords), self.system))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def begins_with_bos(self) -> bool:
        """Whether prompts begin with the tokenizer's BOS."""
        bos = self.tokenizer.bos_token
        return bool(bos) and self._literals((USER,), answered=False)[0].startswith(bos)

    @property
    def end(self) -> str:
        """The mark that ends a reply."""
        return self._end(self._literals((USER, ASSISTANT), answered=True)[2])

    def prompt(self, turns: Sequence[Turn]) -> str:
        """The text that asks for the next reply; `turns` end with the user's. Without BOS, which the tokenizer adds."""
        return self._without_bos(self._compose(turns, answered=False)[0])

    def pieces(self, turns: Sequence[Turn]) -> list[Piece]:
        """The text of a whole conversation, in the pieces between which `learned` changes: replies and the marks that
        end them are learned. Without BOS, which the tokenizer adds.

        Raises RevisionError where the template makes something else of these turns than to put them one after another.
        """
        _, literals, texts = self._compose(turns, answered=True)
        roles = tuple(role for role, _ in turns)
        self._require_prompt_in(roles, literals)
        pieces: list[list] = [["", False]]
        rest = self._without_bos(literals[0])
        for index, (role, text) in enumerate(zip(roles, texts)):
            after = literals[index + 1]
            if role != ASSISTANT:
                pieces[-1][0] += rest + text
                rest = after
                continue
            asked = self._asked(roles[: index + 1], rest)
            end = self._end(after)
            if end != self.end:
                raise RevisionError(f"the chat template ends its replies in different ways; {REMEDY}")
            pieces[-1][0] += rest[:asked]
            pieces += [[rest[asked:] + text + end, True], ["", False]]
            rest = after[len(end) :]
        pieces[-1][0] += rest
        return [(text, learned) for text, learned in pieces if text]

    def _require_prompt_in(self, roles: tuple[str, ...], literals: list[str]) -> None:
        """Raise RevisionError where the text does not begin with the prompt that asks for its last reply."""
        last = max((index for index, role in enumerate(roles) if role == ASSISTANT), default=0)
        if last and self._literals(roles[:last], answered=False)[:-1] != literals[:last]:
            raise RevisionError(f"the chat template writes a conversation otherwise once it is answered; {REMEDY}")

    def _asked(self, roles: tuple[str, ...], before: str) -> int:
        """How many characters of `before`, the text between a question and its reply, the prompt for it has."""
        if len(roles) == 1:  # a reply without a question
            return len(before)
        asking = self._literals(roles[:-1], answered=False)[-1]
        if before.startswith(asking) and not before[len(asking) :].strip():
            return len(asking)  # what is left, a space in some templates, is the model's to say
        alone = self._literals((USER, ASSISTANT), answered=True)[1]
        if not alone.startswith(asking) or alone[len(asking) :].strip():
            raise RevisionError(f"the chat template asks for a reply otherwise than it writes one; {REMEDY}")
        return len(before)  # the template says less before replies that are not the last

    def _end(self, after: str) -> str:
        """The part of `after`, the text behind a reply, that the model must say: up to its first special token."""
        marks = {*self.tokenizer.all_special_tokens, *self.tokenizer.get_added_vocab()}
        places = [(after.index(mark), -len(mark), mark) for mark in marks if mark.strip() and mark in after]
        if not places:
            raise RevisionError(f"the chat template ends a reply without a special token; {REMEDY}")
        place, _, mark = min(places)
        end, eos = place + len(mark), self.tokenizer.eos_token
        return after[: end + len(eos)] if eos and after.startswith(eos, end) else after[:end]

    def _without_bos(self, text: str) -> str:
        return text.removeprefix(self.tokenizer.bos_token) if self.begins_with_bos else text

    def _compose(self, turns: Sequence[Turn], *, answered: bool) -> tuple[str, list[str], list[str]]:
        """The text of `turns`, the template's parts of it, and the turns as they stand in it: some templates trim."""
        literals = self._literals(tuple(role for role, _ in turns), answered=answered)
        whole = self._render(turns, answered=answered)
        texts = _found(whole, literals, [text for _, text in turns])
        if texts is None:
            shown = next((text for _, text in turns if text.strip()), "")[:40]
            raise RevisionError(
                f"the chat template changes the turns that it is given, in a conversation with '{shown}'; take its own "
                f"marks out of the text, or {REMEDY}"
            )
        return whole, literals, texts

    def _literals(self, roles: tuple[str, ...], *, answered: bool) -> list[str]:
        return list(_literals(self, roles, answered))

    def _render(self, turns: Sequence[Turn], *, answered: bool) -> str:
        text = self.text
        messages = [{"role": role, "content": content} for role, content in turns]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": self.system})
        try:
            return self.tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=not answered,
                chat_template=DAY_MACRO + text if "strftime_now" in text else text,
                **dict(self.keywords),
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise RevisionError(
                f"the chat template refuses a conversation: {first_line(error)[:160]}; {REMEDY}"
            ) from None


def _found(whole: str, literals: list[str], texts: list[str]) -> list[str] | None:
    """The turns as they stand in `whole` between the template's parts: as given, or trimmed; None where they do not."""
    if not whole.startswith(literals[0]):
        return None
    rest = whole[len(literals[0]) :]
    if not texts:
        return [] if not rest else None
    text = texts[0]
    trimmed = (text, text.strip(), text.lstrip(), text.rstrip(), text.strip("\n"), text.lstrip("\n"), text.rstrip("\n"))
    for each in dict.fromkeys(trimmed):
        if rest.startswith(each):
            others = _found(rest[len(each) :], literals[1:], texts[1:])
            if others is not None:
                return [each, *others]
    return None


@functools.lru_cache(maxsize=4096)
def _literals(template: ChatTemplate, roles: tuple[str, ...], answered: bool) -> tuple[str, ...]:
    """What the template writes before, between and after turns of these roles."""
    marks = [f"QZ{index:05d}ZQ" for index in range(len(roles))]
    rest = template._render(list(zip(roles, marks)), answered=answered)
    literals = []
    for mark in marks:
        before, found, rest = rest.partition(mark)
        if not found or mark in rest:
            raise RevisionError(f"the chat template leaves out, repeats or reorders turns; {REMEDY}")
        literals.append(before)
    return (*literals, rest)


@functools.lru_cache(maxsize=8)
def chat_template(tokenizer: Any) -> ChatTemplate:
    """The chat template of `tokenizer`, with the first keywords and system message that it can be rendered with in
    pieces. Raises RevisionError where it has none, or with none of them.
    """
    if not chat_template_text(tokenizer):
        raise RevisionError(
            f"the language model's tokenizer has no chat template, so --version auto has none; {REMEDY}"
        )
    problems = []
    told = [keywords for keywords in KEYWORDS if all(name in str(chat_template_text(tokenizer)) for name in keywords)]
    for keywords in (*told, {}):
        for system in (SYSTEM, None):
            template = ChatTemplate(tokenizer, tuple(keywords.items()), system)
            try:
                template.pieces(TRIAL)
                prompt = template.prompt(TRIAL[:1])
                if prompt.rfind(THOUGHT) > prompt.rfind(THOUGHT_END):
                    raise RevisionError(f"the chat template asks for a thought before each reply; {REMEDY}")
            except RevisionError as problem:
                problems.append(problem)
            else:
                return template
    raise problems[0]


def chat_template_text(tokenizer: Any) -> str | None:
    """The template itself; of several, the one for chats."""
    template = getattr(tokenizer, "chat_template", None)
    return template.get("default") if isinstance(template, dict) else template
