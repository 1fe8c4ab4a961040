"""The papers' studies of alignment on your own stores; each writes NAME.json, NAME.png and NAME.svg into --out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from revision_plugin._common.files import write_json
from revision_plugin._common.folders import require_free
from revision_plugin.cli import Parser
from revision_plugin.cli.arguments import MOST_SEED, whole
from revision_plugin.embeddings.store import Store
from revision_plugin.encoders import require_same
from revision_plugin.errors import RevisionError, one_line
from scripts.studies import curves as studies_plots
from scripts.studies import measurements as studies

NAMES = {
    "sample-sizes": "held-out gap against the rows fitted on",
    "precision": "float32 against float64 accumulators",
    "fit-times": "time and memory of a fit against the rows",
    "domain-transfer": "statistics of one domain on another; give two or more stores to --source and to --target",
    "caption-lengths": "short against long captions; give two or more stores to --source",
    "blockwise-failure": "blockwise covariance at several ridges",
}


def main() -> None:
    listed = "\n".join(f"  {name:18s}{text}" for name, text in NAMES.items())
    parser = Parser(
        description=__doc__, epilog=f"studies:\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=NAMES)
    parser.add_argument("--source", type=Path, nargs="+", required=True, help="text store(s)")
    parser.add_argument("--target", type=Path, nargs="+", required=True, help="image store(s)")
    parser.add_argument("--seed", type=whole(0, MOST_SEED), default=0, help="of the rows that sample-sizes draws")
    parser.add_argument("--out", type=Path, required=True)
    with one_line():
        a = parser.parse_args()
        record = run(a)
    print(json.dumps(record, indent=1))


def run(a) -> dict:
    """The study's record, which is also written."""
    require_free(a.out)
    texts, images = ({path.name: Store.open(path) for path in paths} for paths in (a.source, a.target))
    first, *others = [*texts.values(), *images.values()]
    for store in others:
        require_same(first.encoder, store.encoder, "the stores come from different encoders", "encode all with one")
    name = a.study.replace("-", "_")
    study = getattr(studies, name)
    if a.study == "domain-transfer":
        if len(texts) != len(images) or len(texts) < 2:
            raise RevisionError("domain-transfer needs as many stores in --source as in --target, two or more")
        record = study({source: (texts[source], images[target]) for source, target in zip(texts, images)})
    elif len(images) != 1 or (len(texts) != 1 and a.study != "caption-lengths"):
        raise RevisionError(
            f"{a.study} takes one store in --target" + ("" if len(images) != 1 else " and one in --source")
        )
    elif a.study == "caption-lengths":
        record = study(texts, *images.values())
    else:
        seeded = {"seed": a.seed} if a.study == "sample-sizes" else {}
        record = study(*texts.values(), *images.values(), **seeded)
    a.out.mkdir(parents=True, exist_ok=True)
    write_json(a.out / f"{name}.json", record)
    getattr(studies_plots, name)(record, a.out)
    return record


if __name__ == "__main__":
    main()
