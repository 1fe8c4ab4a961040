"""What a training corpus costs to acquire, relative to paired data (ReVision, appendix H.4)."""

from __future__ import annotations

from collections.abc import Iterable

PRICE_IN, PRICE_OUT = 1.25, 10.0  # dollars per million tokens
PAIRED_DOLLARS = 1.25 * 221.64 + 10 * 16.15  # one million image-text pairs, by the paper's token counts


def count_tokens(texts: Iterable[str], tokenizer) -> int:
    """Tokens of all `texts`, without special tokens, under a transformers tokenizer."""
    return sum(len(tokenizer(text, add_special_tokens=False).input_ids) for text in texts)


def cost(tokens_in: float, tokens_out: float, *, price_in: float = PRICE_IN, price_out: float = PRICE_OUT) -> float:
    """Dollars for tokens read and written: `P_in * T_in + P_out * T_out`, prices per million tokens."""
    return (price_in * tokens_in + price_out * tokens_out) / 1e6
