"""What a text corpus costs to acquire, relative to one million image-text pairs (ReVision, appendix H.4)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from revision_plugin._common.files import write_json
from revision_plugin.corpora.texts import read_texts
from revision_plugin.errors import one_line
from scripts import cost_of_text as cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generated", type=Path, required=True, help="the corpus: texts the language model wrote")
    parser.add_argument("--prompts", type=Path, help="what it read to write them, in any form `revision encode` takes")
    parser.add_argument("--tokenizer", required=True, help="a transformers tokenizer, folder or name")
    parser.add_argument("--price-in", type=float, default=cost.PRICE_IN, help="dollars per million tokens read")
    parser.add_argument("--price-out", type=float, default=cost.PRICE_OUT, help="dollars per million tokens written")
    parser.add_argument("--paired-dollars", type=float, default=cost.PAIRED_DOLLARS, help="cost of the paired baseline")
    parser.add_argument("--out", type=Path, required=True, help="JSON for `revision table --cost ROW=FILE`")
    a = parser.parse_args()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(a.tokenizer)
    with one_line():
        tokens_out, tokens_in = (
            cost.count_tokens((item.text for item in read_texts(path)), tokenizer) if path else 0
            for path in (a.generated, a.prompts)
        )
    dollars = cost.cost(tokens_in, tokens_out, price_in=a.price_in, price_out=a.price_out)
    record = {
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "dollars": dollars,
        "relative_cost": dollars / a.paired_dollars,
    }
    write_json(a.out, record)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
