"""`revision table`: the papers' table from results."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import RevisionError
from ..evaluation.contact_sheet import contact_sheet
from ..evaluation.published import published_rows
from ..evaluation.results import read_row, read_samples
from ..evaluation.table import breakdown_markdown, markdown, read_cost, write_table
from ..evaluation.table_page import table_page
from ..pages import command_line


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, nargs="*", help="folders with *_results.json, a row each")
    text = "one of the papers' tables above ours, such as revision-1; may be given more than once"
    parser.add_argument("--published", action="append", default=[], metavar="TABLE", help=text)
    parser.add_argument("--breakdown", action="store_true", help="also each benchmark's own measures and parts")
    text = "what scripts/cost.py wrote for a row"
    parser.add_argument("--cost", action="append", default=[], metavar="ROW=FILE", help=text)
    parser.add_argument("--out", type=Path, help="also write OUT.md, OUT.csv, OUT.json and the page OUT.html")


def run(a: argparse.Namespace) -> None:
    rows = [read_row(folder) for folder in a.results]
    names = [row.name for row in rows]
    for row, folder in zip(rows, a.results):
        if names.count(row.name) > 1 and not a.cost:  # A/run and B/run
            row.name = str(folder)
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
    samples = {row.name: read_samples(folder) for row, folder in zip(rows, a.results)} if a.out else {}
    folders = {row.name: folder for row, folder in zip(rows, a.results)}
    rows = [*(row for name in a.published for row in published_rows(name)), *rows]
    if not rows:
        raise RevisionError("nothing to show; give folders with results, or --published TABLE")
    print(markdown(rows))
    if a.breakdown:
        print("\n\n".join(f"### {row.name}\n\n{breakdown_markdown(row)}" for row in rows if row.scores))
    if a.out:
        write_table(rows, a.out, table_page(rows, contact_sheet(samples, folders), command=command_line()))
