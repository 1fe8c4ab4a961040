"""A page of a report in markdown that this project wrote: headings, paragraphs, lists and tables."""

from __future__ import annotations

import re
from itertools import groupby

from .page import Page

RULE = re.compile(r"\|( *:?-+:? *\|)+")
CELLS = re.compile(r"(?<!\\)\|")  # an escaped bar is part of a cell
LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")  # to a file beside it, which a page that is sent has not
PICTURE = "!["


def page_of_markdown(text: str, title: str) -> Page:
    """The page of `text`; its first heading is the page's title, else `title` is. Pictures beside it are left out."""
    blocks = [block for block in re.split(r"\n\s*\n", text) if block.strip()]
    if blocks and blocks[0].startswith("# "):
        title = blocks.pop(0)[2:].strip()
    page = Page(title)
    for block in blocks:
        for kind, lines in groupby(block.strip().split("\n"), _kind):
            _add(page, kind, [*lines])
    return page


def _kind(line: str) -> str:
    kinds = {"|": "table", "- ": "bullets", "#": "heading", PICTURE: "picture"}
    return next((kind for start, kind in kinds.items() if line.startswith(start)), "text")


def _add(page: Page, kind: str, lines: list[str]) -> None:
    if kind == "table":
        head, *rows = [_cells(line) for line in lines if not RULE.fullmatch(line)]
        page.table(head, rows)
    elif kind == "bullets":
        page.bullets(line[2:] for line in lines)
    elif kind == "heading":
        for line in lines:
            marks, _, words = line.partition(" ")
            page.section(words, level=min(len(marks), 3))
    elif kind == "text":
        page.text(LINK.sub(r"\1", " ".join(lines)))


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in CELLS.split(line)[1:-1]]
