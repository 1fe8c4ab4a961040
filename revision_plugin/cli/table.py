"""`revision table`: the papers' table from results."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import RevisionError
from ..evaluation.table import markdown, published_rows, read_cost, read_row, write_table


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, nargs="+", help="folders with *_results.json, a row each")
    parser.add_argument("--published", action="store_true", help="the papers' rows above ours")
    text = "what scripts/cost.py wrote for a row"
    parser.add_argument("--cost", action="append", default=[], metavar="ROW=FILE", help=text)
    parser.add_argument("--out", type=Path, help="also write OUT.md, OUT.csv and OUT.json")


def run(a: argparse.Namespace) -> None:
    rows = [read_row(folder) for folder in a.results]
    for pair in a.cost:
        name, _, file = pair.partition("=")
        matching_rows = [row for row in rows if row.name == name]
        if not matching_rows:
            raise RevisionError(f"--cost {pair}: no row '{name}'; there are {', '.join(row.name for row in rows)}")
        if len(matching_rows) > 1:
            raise RevisionError(f"--cost {pair}: {len(matching_rows)} folders are called '{name}'; rename all but one")
        if matching_rows[0].relative_cost is not None:
            raise RevisionError(f"--cost {pair}: '{name}' has a cost already; give it once")
        matching_rows[0].relative_cost = read_cost(file)
    rows = [*(published_rows() if a.published else []), *rows]
    print(markdown(rows))
    if a.out:
        write_table(rows, a.out)
