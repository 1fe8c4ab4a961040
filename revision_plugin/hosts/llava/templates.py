"""Conversation templates that LLaVA 1.2.2 lacks, in its table; their label masking is exact to the token."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

from llava import conversation

from ...errors import RevisionError
from ..chat_template import ASSISTANT, USER, chat_template
from ..named_templates import NAMED, VICUNA, conversation_pieces, encode_pieces, turns_of
from ..tokenizers import AUTO

TEMPLATES = {
    name: dict(system=each.system.removesuffix(each.end), roles=(each.question, each.reply), sep=each.end)
    for name, each in NAMED.items()
    if name != VICUNA
}


class ChatConversation(conversation.Conversation):
    """`auto` in LLaVA's table: the prompt of the tokenizer that `bind` was last given."""

    tokenizer: Any = None

    def bind(self, tokenizer: Any) -> None:
        self.tokenizer, self.sep = tokenizer, chat_template(tokenizer).end

    def get_prompt(self) -> str:
        """The text that LLaVA's code tokenizes, without BOS, which the tokenizer adds. RevisionError before `bind`."""
        if self.tokenizer is None:
            raise RevisionError("--version auto: no language model is loaded yet, so there is no chat template")
        turns = [(role, text) for role, text in self.messages if text is not None]
        template = chat_template(self.tokenizer)
        if turns and turns[-1][0] == ASSISTANT:
            return "".join(text for text, _ in template.pieces(turns))
        return template.prompt(turns)

    def copy(self) -> ChatConversation:
        own = copy.copy(self)
        own.messages = [[*message] for message in self.messages]
        return own


def with_templates(templates: dict) -> dict:
    """LLaVA's table with ours added, in place: other modules hold it, too. LLaVA's own templates stay LLaVA's."""
    usual: dict[str, Any] = dict(messages=(), offset=0, sep_style=conversation.SeparatorStyle.MPT)
    for name, parts in TEMPLATES.items():
        if name not in templates:
            templates[name] = conversation.Conversation(version=name, **usual, **parts)
    templates[AUTO] = ChatConversation(version=AUTO, system="", roles=(USER, ASSISTANT), sep="", **usual)
    return templates


def exact_masks(original: Callable) -> Callable:
    """LLaVA's `preprocess` that masks the labels of our templates itself."""

    @functools.wraps(original)
    def preprocess(sources, tokenizer, has_image=False):
        template = conversation.default_conversation
        if template.version not in (*TEMPLATES, AUTO):
            return original(sources, tokenizer, has_image=has_image)
        encoded = [encode_conversation(source, tokenizer, template) for source in sources]
        return {"input_ids": [ids for ids, _ in encoded], "labels": [labels for _, labels in encoded]}

    return preprocess


def encode_conversation(records, tokenizer, template):
    """Token ids and labels (long [L]) of one conversation in LLaVA's form: only replies and their end marks are
    learned.
    """
    return encode_pieces(conversation_pieces(template.version, tokenizer, turns_of(records)), tokenizer)
