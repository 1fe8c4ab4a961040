"""Conversation templates that LLaVA 1.2.2 lacks, with label masking exact to the token.

`llama_3` is the papers' Stage-2 prompt; `smollm2` is ChatML as SmolLM2 was trained on it; `auto` is the chat template
of the language model's own tokenizer.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from llava import conversation
from llava.constants import DEFAULT_IMAGE_TOKEN, IGNORE_INDEX, IMAGE_TOKEN_INDEX

from ...errors import RevisionError
from ..chat_template import ASSISTANT, SYSTEM, USER, Piece, Turn, chat_template
from .tokenizers import AUTO

TEMPLATES = {
    "llama_3": {
        "system": f"<|start_header_id|>system<|end_header_id|>\n\n{SYSTEM}",
        "roles": (
            "<|start_header_id|>user<|end_header_id|>\n\n",
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        "sep": "<|eot_id|>",
    },
    "smollm2": {
        "system": f"<|im_start|>system\n{SYSTEM}",
        "roles": ("<|im_start|>user\n", "<|im_start|>assistant\n"),
        "sep": "<|im_end|>\n",
    },
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
    if records and records[0]["from"] != "human":
        records = records[1:]
    turns = [(ASSISTANT if record["from"] == "gpt" else USER, record["value"]) for record in records]
    pieces = chat_template(tokenizer).pieces(turns) if template.version == AUTO else named_pieces(template, turns)
    return encode_pieces(pieces, tokenizer)


def named_pieces(template: Any, turns: Sequence[Turn]) -> list[Piece]:
    """The text of a conversation in a template of ours, in the pieces between which labels change."""
    pieces: list[list] = [[template.system + template.sep, False]]
    for role, text in turns:
        learned = role == ASSISTANT
        pieces[-1][0] += template.roles[int(learned)]
        if learned:
            pieces += [[text + template.sep, True], ["", False]]
        else:
            pieces[-1][0] += text + template.sep
    return [(text, learned) for text, learned in pieces if text]


def encode_pieces(pieces: Sequence[Piece], tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels (long [L]) of a text in pieces; the tokenizer's first token stands before it.

    As LLaVA does, what stands between images is tokenized by itself.
    """
    stretches: list[list[Piece]] = [[]]
    for text, learned in pieces:
        for index, part in enumerate(text.split(DEFAULT_IMAGE_TOKEN)):
            if index:
                stretches.append([])
            if part:
                stretches[-1].append((part, learned))
    ids: list[int] = []
    labels: list[int] = []
    for index, stretch in enumerate(stretches):
        if index:
            ids.append(IMAGE_TOKEN_INDEX)
            labels.append(IGNORE_INDEX)
        for tokens, learned in _tokens(stretch, tokenizer, first=not index):
            ids += tokens
            labels += tokens if learned else [IGNORE_INDEX] * len(tokens)
    return torch.tensor(ids), torch.tensor(labels)


def _tokens(stretch: list[Piece], tokenizer: Any, *, first: bool) -> list[tuple[list[int], bool]]:
    """The tokens of each piece of a text without images.

    A prompt must have the tokens in training that it has when the model is asked, where it is tokenized without its
    reply. Mostly the tokens of the whole text begin with those; where one would reach over the border (a reply that
    begins with a blank line), the pieces are tokenized one by one.
    """
    whole = "".join(text for text, _ in stretch)
    tokens = tokenizer(whole, add_special_tokens=first).input_ids
    known, found, end = 0, [], 0
    for text, learned in stretch:
        end += len(text)
        until = tokens if end == len(whole) else tokenizer(whole[:end], add_special_tokens=first).input_ids
        if tokens[: len(until)] != until:
            return [
                (tokenizer(text, add_special_tokens=first and not index).input_ids, learned)
                for index, (text, learned) in enumerate(stretch)
            ]
        found.append((tokens[known : len(until)], learned))
        known = len(until)
    return found if stretch else [(tokens, False)]  # a first token may stand before an image that comes first
