"""How a checkpoint is asked, as a Jinja chat template that any software of transformers renders: turns with text and
images in, the prompt of the training out.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any, Protocol

from ..corpora.texts import IMAGE_MARK
from ..errors import RevisionError
from .chat_template import DAY_MACRO, ChatTemplate

GLUES = ("", " ")
# text of one message: its images first, each on a line of its own, then its texts
CONTENT = (
    "{% macro spoken(m) %}{% if m.content is string %}"
    "{{ m.content | replace(IMAGE_LINE, IMAGE_GLUED) }}"
    "{% else %}{% for p in m.content %}{% if p.type in ('image', 'image_url') %}{{ IMAGE_GLUED }}{% endif %}"
    "{% endfor %}{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}"
    "{% endif %}{% endmacro %}"
)


class PromptForm(Protocol):
    """A prompt that can be written as a chat template. `glue` stands behind the first token and `image_glue` behind an
    image: some tokenizers need a space there to cut what follows as they cut a text's beginning.
    """

    @property
    def glues(self) -> tuple[str, ...]:
        """What may stand behind the first token."""

    def jinja(self, *, bos: str, glue: str = "", image_glue: str = "") -> str:
        """The template, whose prompts begin with `bos`."""


@dataclass(frozen=True)
class NamedPrompt:
    """The text of a conversation template around the turns: before the first question, between a question and its
    reply, behind an open question, between a reply and the next question, and behind the last reply.
    """

    before: str
    between: str
    ask: str
    again: str
    end: str

    @property
    def glues(self) -> tuple[str, ...]:
        return GLUES

    def jinja(self, *, bos: str, glue: str = "", image_glue: str = "") -> str:
        refusal = "this model was trained with a system message of its own; leave out the system turn"
        return (
            _constants(image_glue)
            + f"{{{{ {_quoted(bos + glue + self.before)} }}}}"
            + "{% for m in messages %}"
            + f"{{% if m.role == 'system' %}}{{{{ raise_exception({_quoted(refusal)}) }}}}"
            + "{% elif m.role == 'user' %}{{ spoken(m) }}"
            + f"{{% if not loop.last %}}{{{{ {_quoted(self.between)} }}}}"
            + f"{{% elif add_generation_prompt %}}{{{{ {_quoted(self.ask)} }}}}{{% endif %}}"
            + "{% else %}{{ spoken(m) }}"
            + f"{{{{ {_quoted(self.end)} if loop.last else {_quoted(self.again)} }}}}"
            + "{% endif %}{% endfor %}"
        )


@dataclass(frozen=True)
class CaptionPrompt:
    """Of a checkpoint that is pretrained only: the image alone, answered by a caption."""

    end: str

    @property
    def glues(self) -> tuple[str, ...]:
        return GLUES

    def jinja(self, *, bos: str, glue: str = "", image_glue: str = "") -> str:
        refusal = "{{ raise_exception('this model is pretrained only and writes captions; ask no question') }}"
        return (
            "{% macro spoken(m) %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
            f"{{% if p.type in ('image', 'image_url') %}}{IMAGE_MARK}{{% elif p.type == 'text' %}}{{{{ p.text }}}}"
            "{% endif %}{% endfor %}{% endif %}{% endmacro %}"
            f"{{{{ {_quoted(bos + glue)} }}}}"
            "{% for m in messages %}{% if m.role == 'assistant' %}"
            f"{{{{ spoken(m) }}}}{{{{ {_quoted(self.end)} }}}}"
            f"{{% elif spoken(m).replace('{IMAGE_MARK}', '').strip() %}}{refusal}"
            f"{{% else %}}{IMAGE_MARK}{{% endif %}}{{% endfor %}}"
        )


@dataclass(frozen=True)
class OwnPrompt:
    """A language model's own chat template, rendered as its training had it: with the papers' system message where
    none is given, without thoughts, and on the same day always.
    """

    template: ChatTemplate

    @property
    def glues(self) -> tuple[str, ...]:
        return ("",) if self.template.begins_with_bos else GLUES  # it writes its first token itself

    def jinja(self, *, bos: str, glue: str = "", image_glue: str = "") -> str:
        begins = self.template.begins_with_bos
        system = ""
        if self.template.system is not None:
            system = (
                "{% if ns.turns[0].role != 'system' %}"
                f"{{% set ns.turns = [{{'role': 'system', 'content': {_quoted(self.template.system)}}}] + ns.turns %}}"
                "{% endif %}"
            )
        keywords = "".join(f"{{% set {name} = {json.dumps(value)} %}}" for name, value in self.template.keywords)
        text = self.template.text
        return (
            _constants(image_glue)
            + "{% set ns = namespace(turns=[]) %}{% for m in messages %}"
            + "{% set ns.turns = ns.turns + [{'role': m.role, 'content': spoken(m)}] %}{% endfor %}"
            + f"{system}{{% set messages = ns.turns %}}{keywords}"
            + ("" if begins or not bos else f"{{{{ {_quoted(bos + glue)} }}}}")
            + (DAY_MACRO + text if "strftime_now" in text else text)
        )


@dataclass(frozen=True)
class KeptPrompt:
    """A chat template that was written before, of a checkpoint in the HF-native form; its marks are in it."""

    text: str

    @property
    def glues(self) -> tuple[str, ...]:
        return ("",)

    def jinja(self, *, bos: str, glue: str = "", image_glue: str = "") -> str:
        return self.text


def named_prompt(conversation: Any) -> NamedPrompt:
    """The parts of a conversation template in LLaVA's form. Raises RevisionError for one that treats its turns
    unequally.
    """
    user, assistant = conversation.roles
    marks = [f"QZ{index}ZQ" for index in range(3)]

    def rendered(*turns) -> str:
        template = copy.copy(conversation)  # LLaVA-NeXT's own copy loses its tokenizer
        template.messages = [[role, text] for role, text in turns]
        return template.get_prompt()

    asked = rendered((user, marks[0]), (assistant, marks[1]), (user, marks[2]), (assistant, None))
    answered = rendered((user, marks[0]), (assistant, marks[1]), (user, marks[2]), (assistant, "QZ3ZQ"))
    before, between, again, ask = _parted(asked, marks)
    end = _parted(answered, [*marks, "QZ3ZQ"])[-1]
    prompt = NamedPrompt(before, between, ask, again, end)
    alone = rendered((user, marks[0]), (assistant, None))
    if alone != before + marks[0] + ask:
        raise RevisionError(
            "the conversation template asks the first question otherwise than later ones; it cannot be exported"
        )
    return prompt


def _parted(text: str, marks: list[str]) -> list[str]:
    parts = []
    for mark in marks:
        part, _, text = text.partition(mark)
        parts.append(part)
    return [*parts, text]


def _constants(image_glue: str) -> str:
    line, glued = f"{IMAGE_MARK}\n", f"{IMAGE_MARK}{image_glue}\n"
    return CONTENT.replace("IMAGE_LINE", _quoted(line)).replace("IMAGE_GLUED", _quoted(glued))


def _quoted(text: str) -> str:
    """`text` as a string of Jinja."""
    return json.dumps(text, ensure_ascii=False)
