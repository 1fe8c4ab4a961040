"""Conversation templates that LLaVA 1.2.2 lacks, with label masking exact to the token.

`llama_3` is the papers' Stage-2 prompt; `smollm2` is ChatML as SmolLM2 was trained on it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from llava import conversation
from llava.constants import DEFAULT_IMAGE_TOKEN, IGNORE_INDEX, IMAGE_TOKEN_INDEX

SYSTEM = "You are a helpful language and vision assistant."
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


def with_templates(templates: dict) -> dict:
    """LLaVA's table with ours added, in place: other modules hold it, too. LLaVA's own templates stay LLaVA's."""
    for name, parts in TEMPLATES.items():
        if name not in templates:
            templates[name] = conversation.Conversation(
                messages=(), offset=0, sep_style=conversation.SeparatorStyle.MPT, version=name, **parts
            )
    return templates


def exact_masks(original: Callable) -> Callable:
    """LLaVA's `preprocess` that masks the labels of our templates itself."""

    @functools.wraps(original)
    def preprocess(sources, tokenizer, has_image=False):
        template = conversation.default_conversation
        if template.version not in TEMPLATES:
            return original(sources, tokenizer, has_image=has_image)
        encoded = [encode_conversation(source, tokenizer, template) for source in sources]
        return {"input_ids": [ids for ids, _ in encoded], "labels": [labels for _, labels in encoded]}

    return preprocess


def encode_conversation(turns, tokenizer, template):
    """Token ids and labels (long [L]) of one conversation: only replies and their end marks are learned.

    The text is tokenized in the pieces between which labels change, so no mask can be off by a token.
    """
    if turns and turns[0]["from"] != "human":
        turns = turns[1:]
    pieces = [[template.system + template.sep, False]]
    for turn in turns:
        learned = turn["from"] == "gpt"
        pieces[-1][0] += template.roles[int(learned)]
        if learned:
            pieces.append([turn["value"] + template.sep, True])
            pieces.append(["", False])
        else:
            pieces[-1][0] += turn["value"] + template.sep
    ids: list[int] = []
    labels: list[int] = []
    for text, learned in pieces:
        if not text:
            continue
        tokens = _tokenize(text, tokenizer, first=not ids)
        ids += tokens
        labels += tokens if learned else [IGNORE_INDEX] * len(tokens)
    return torch.tensor(ids), torch.tensor(labels)


def _tokenize(text: str, tokenizer, *, first: bool) -> list[int]:
    ids: list[int] = []
    for index, chunk in enumerate(text.split(DEFAULT_IMAGE_TOKEN)):
        if index:
            ids.append(IMAGE_TOKEN_INDEX)
        if chunk:
            ids += tokenizer(chunk, add_special_tokens=first and not ids).input_ids
    return ids
