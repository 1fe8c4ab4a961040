"""What a text corpus costs to acquire, relative to one million image-text pairs (ReVision, table 2 and appendix H.4).

The appendix contradicts itself on the pairs: it prints 221.64M tokens in and 16.15M out, of which its formula makes
$438.55, and $476.05, which needs 251.64M in. The relative costs that table 2 prints (0.37, 0.74, 3.98) are to the
$476.05.
`relative_cost` is to what the formula makes of the printed tokens, unless --paired-dollars says otherwise;
`relative_cost_printed` is to the printed dollars and goes with table 2. Both baselines are at the prices given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from transformers import AutoTokenizer

from revision_plugin._common.files import write_json
from revision_plugin.cli import Parser
from revision_plugin.corpora.texts import read_texts
from revision_plugin.errors import RevisionError, one_line

PRICE_IN, PRICE_OUT = 1.25, 10.0  # dollars per million tokens
# tokens (in, out) of one million image-text pairs: as printed, and as the printed dollars need
PAIRED_TOKENS, PRINTED_DOLLARS_TOKENS = (221.64e6, 16.15e6), (251.64e6, 16.15e6)


def count_tokens(texts: Iterable[str], tokenizer) -> int:
    """Tokens of all `texts`, without special tokens, under a transformers tokenizer."""
    return sum(len(tokenizer(text, add_special_tokens=False).input_ids) for text in texts)


def cost(tokens_in: float, tokens_out: float, *, price_in: float = PRICE_IN, price_out: float = PRICE_OUT) -> float:
    """Dollars for tokens read and written: `P_in * T_in + P_out * T_out`, prices per million tokens."""
    return (price_in * tokens_in + price_out * tokens_out) / 1e6


def shares(
    tokens_in: float,
    tokens_out: float,
    *,
    price_in: float = PRICE_IN,
    price_out: float = PRICE_OUT,
    paired_dollars: float | None = None,
) -> dict[str, float]:
    """Dollars of a corpus, and its cost relative to both baselines at the same prices; `paired_dollars` replaces the
    first.
    """
    prices = {"price_in": price_in, "price_out": price_out}
    total, printed = cost(tokens_in, tokens_out, **prices), cost(*PRINTED_DOLLARS_TOKENS, **prices)
    paired = cost(*PAIRED_TOKENS, **prices) if paired_dollars is None else paired_dollars
    return {
        "dollars": total,
        "paired_dollars": paired,
        "relative_cost": total / paired,
        "paired_dollars_printed": printed,
        "relative_cost_printed": total / printed,
    }


def read_captions(path: Path) -> Iterable[str]:
    """The texts of a corpus. Raises RevisionError for one that holds an unusable record: its tokens would be
    missing.
    """
    for item in read_texts(path):
        if item.problem:
            raise RevisionError(f"{path}: record '{item.id}' {item.problem}")
        yield item.text


def load_tokenizer(name: str):
    """The tokenizer of a folder or hub name. Raises RevisionError where there is none."""
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise RevisionError(f"--tokenizer {name}: no tokenizer there ({str(error).splitlines()[0]})") from None


def dollars(text: str) -> float:
    """A positive, finite number of dollars, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--generated", type=Path, required=True, help="the corpus: texts the language model wrote")
    parser.add_argument("--prompts", type=Path, help="what it read to write them, in any form `revision encode` takes")
    parser.add_argument("--tokenizer", required=True, help="a transformers tokenizer, folder or name")
    parser.add_argument("--price-in", type=dollars, default=PRICE_IN, help="dollars per million tokens read")
    parser.add_argument("--price-out", type=dollars, default=PRICE_OUT, help="dollars per million tokens written")
    text = (
        "cost of the paired baseline (default: the paper's 221.64M tokens in and 16.15M out at these prices, $438.55)"
    )
    parser.add_argument("--paired-dollars", type=dollars, help=text)
    parser.add_argument("--out", type=Path, required=True, help="JSON for `revision table --cost ROW=FILE`")
    with one_line():
        a = parser.parse_args()
        tokenizer = load_tokenizer(a.tokenizer)
        tokens_out = count_tokens(read_captions(a.generated), tokenizer)
        tokens_in = count_tokens(read_captions(a.prompts), tokenizer) if a.prompts else 0
        prices = {"price_in": a.price_in, "price_out": a.price_out}
        record = {
            "tokens_in": tokens_in,
            "tokens_out": tokens_out,
            **prices,
            **shares(tokens_in, tokens_out, paired_dollars=a.paired_dollars, **prices),
        }
        write_json(a.out, record)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
