"""What a language model's texts begin with."""

from __future__ import annotations

from typing import Any

from tokenizers import processors

from ..errors import RevisionError


def first_token(tokenizer: Any) -> str:
    """What stands first where a tokenizer has no BOS: the token that separated documents while the model was
    pretrained.
    """
    for token in (tokenizer.init_kwargs.get("pad_token"), tokenizer.eos_token, tokenizer.pad_token):
        if token is not None:
            return str(token)
    raise RevisionError("the language model's tokenizer has no special token that could stand first; set its bos_token")


def begin_with(tokenizer: Any, token: str | None) -> None:
    """Make every text begin with `token`, or with none. Raises RevisionError for a tokenizer that cannot do so."""
    first = [] if token is None else [tokenizer.convert_tokens_to_ids(token)]
    plain = tokenizer("a", add_special_tokens=False).input_ids
    if tokenizer("a").input_ids == [*first, *plain]:
        return
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        tokenizer.add_bos_token = token is not None
    elif token is None:
        backend.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    else:
        # by a name of its own: a token may hold a colon, which means something else here
        backend.post_processor = processors.TemplateProcessing(
            single="first $A", pair="first $A first $B", special_tokens=[("first", first[0])]
        )
    if tokenizer("a").input_ids != [*first, *plain]:
        raise RevisionError(
            "the language model's tokenizer cannot be made to begin texts as its prompts do; use its fast version"
        )
