"""Text embeddings of a language model that attends in both directions, pooled as LLM2Vec does.

LLM2Vec (BehnamGhader et al., 2024), as LLM2CLIP uses it: padding on the left, an empty instruction, the mean of the
last hidden states over the text's own tokens. Its package imports on transformers up to 4.44 only.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .base import Tokens

MAX_TOKENS = 512
LLAMA3_BEFORE, LLAMA3_AFTER = "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"


def prepare_tokenizer(tokenizer) -> None:
    """Pad on the left, with the end token where the tokenizer has no padding token."""
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token


def tokenize(tokenizer, texts: list[str]) -> Tokens:
    """`input_ids`, `attention_mask` and `pooled` (1 on the tokens to average), each long [N, L]; how many texts were
    cut.

    A tokenizer with Llama 3's header tokens gets the text as a user's message; its header is not averaged.
    """
    before, after = (LLAMA3_BEFORE, LLAMA3_AFTER) if LLAMA3_AFTER in tokenizer.get_vocab() else ("", "")
    closed = [(text.rstrip() if after else text) + after for text in texts]
    prompts = [before + text for text in closed]
    cut = {"truncation": True, "max_length": MAX_TOKENS}
    batch = tokenizer(prompts, padding=True, return_tensors="pt", **cut)
    lengths = [len(ids) for ids in tokenizer(closed, add_special_tokens=False, **cut).input_ids]
    pooled = (
        torch.arange(batch.input_ids.shape[1])[None, :] >= batch.input_ids.shape[1] - torch.tensor(lengths)[:, None]
    )
    tokens = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "pooled": pooled.long()}
    lengths = [len(ids) for ids in tokenizer(prompts, truncation=False, verbose=False).input_ids]
    return Tokens(tokens, sum(length > MAX_TOKENS for length in lengths))


def pooled_states(model: torch.nn.Module, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Mean last hidden states [N, hidden], float32, of a causal decoder run without its causal mask.

    `model` is a decoder of transformers without a head; the 4-dimensional mask keeps padding out and lets every token
    see every other one.
    """
    dtype = next(model.parameters()).dtype
    padding = (tokens["attention_mask"] == 0)[:, None, None, :]
    mask = torch.zeros(padding.shape, dtype=dtype, device=padding.device).masked_fill(padding, torch.finfo(dtype).min)
    mask = mask.expand(-1, 1, padding.shape[-1], -1)
    states = model(input_ids=tokens["input_ids"], attention_mask=mask, use_cache=False).last_hidden_state.float()
    weights = tokens["pooled"].float()
    return (states * weights[:, :, None]).sum(1) / weights.sum(1, keepdim=True)
