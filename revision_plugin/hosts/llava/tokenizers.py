"""What LLaVA's code expects of a tokenizer that today's tokenizers do not give by themselves."""

from __future__ import annotations

import functools
from typing import Any

from ..tokenizers import begin_texts
from .variant import is_next


def prepare_tokenizer(tokenizer: Any, *, begin: bool, version: str = "") -> None:
    """Fit `tokenizer` to LLaVA and to the conversation template `version`, in place; with `begin`, make every text
    start with a first token (LLaVA-NeXT leaves Qwen without one).

    Raises RevisionError for a tokenizer that cannot do so, and for a template whose marks it does not know.
    """
    if not hasattr(tokenizer, "legacy"):
        tokenizer.legacy = True  # llava.train.train.preprocess_v1 reads it; fast tokenizers have none
    if is_next():
        _as_of_old(tokenizer)
    if begin:
        begin_texts(tokenizer, version, without_bos=is_next())


def _as_of_old(tokenizer: Any) -> None:
    """What LLaVA-NeXT's masks ask of a tokenizer, which transformers 5 calls otherwise: the ids of additional special
    tokens, and chats as lists of ids.
    """
    if not hasattr(tokenizer, "additional_special_tokens_ids"):
        tokenizer.additional_special_tokens_ids = tokenizer.convert_tokens_to_ids(tokenizer.extra_special_tokens)
    if "return_dict" not in getattr(tokenizer.apply_chat_template, "keywords", {}):
        tokenizer.apply_chat_template = functools.partial(tokenizer.apply_chat_template, return_dict=False)
