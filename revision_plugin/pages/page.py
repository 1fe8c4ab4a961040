"""A page: its pieces in order, and the file they become."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

from .._common.files import write_text
from .._common.versions import versions
from .figures import PALETTE, dark_colors, figure_json, script_json
from .picture_cards import Card

CODE, BOLD = re.compile(r"`([^`]+)`"), re.compile(r"\*\*([^*]+)\*\*")
NUMBER = re.compile(r"[-+−±]?\d")
HEIGHT = 420  # pixels of a figure
COMMAND = "revision_plugin.cli"  # the package that `revision` runs
WRITTEN_BY = ("plotly",)  # what the page depends on, beside what the numbers depend on


@dataclass
class Page:
    """An HTML file in the making; the room's docstring shows every piece. Methods add a piece at the end."""

    title: str
    summary: str = ""
    pieces: list[dict[str, Any]] = field(default_factory=list)
    pictures_once: dict[str, int] = field(default_factory=dict)  # data URI -> its number: many cards may share one

    def _add(self, kind: str, **values: Any) -> None:
        self.pieces.append({"kind": kind, "number": len(self.pieces), **values})

    def section(self, title: str, *paragraphs: str, level: int = 2) -> None:
        """A heading, which the contents list, and paragraphs below it; of `level` 3 it is a smaller one, not listed."""
        self._add("section" if level < 3 else "subsection", title=title)
        self.text(*paragraphs)

    def text(self, *paragraphs: str) -> None:
        """Paragraphs of plain text; what stands in `backticks` is shown as code, in **two stars** as strong."""
        for paragraph in paragraphs:
            self._add("text", text=paragraph)

    def bullets(self, lines: Iterable[str]) -> None:
        """A list of plain lines."""
        self._add("bullets", lines=list(lines))

    def key_figures(self, figures: Iterable[tuple[str, str]]) -> None:
        """The few numbers to see first: (value, what it is)."""
        self._add("key_figures", figures=list(figures))

    def facts(self, title: str, facts: Mapping[str, Any]) -> None:
        """What was run: name -> value, under a heading of its own."""
        self._add("section", title=title)
        self._add("facts", facts=dict(facts))

    def limits(self, lines: Iterable[str]) -> None:
        """What this page does not show, under that heading."""
        self._add("section", title="What this page does not show")
        self.bullets(lines)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str = "") -> None:
        """A table that a click on a column's head sorts; the first cell of a row names it. Raises ValueError for a row
        that is not as long as the head.
        """
        lines = [["" if cell is None else str(cell) for cell in row] for row in rows]
        if any(len(line) != len(head) for line in lines):
            raise ValueError(f"a table of {len(head)} columns has rows of another length")
        columns = [[line[column] for line in lines] for column in range(len(head))]
        numeric = [any(map(NUMBER.match, cells)) and all(map(_is_short, cells)) for cells in columns]
        self._add("table", head=[*head], rows=lines, caption=caption, numeric=numeric)

    def figure(
        self, figure: Figure | dict, *, caption: str, alt: str, cards: Sequence[Card] = (), height: int = HEIGHT
    ) -> None:
        """A plotly figure, `height` pixels high; `cards` are what its points' `customdata` count."""
        content = {**figure_json(figure), "cards": [self._card(card) for card in cards], "height": height}
        self._add("figure", content=content, caption=caption, alt=alt, height=height)

    def pictures(self, cards: Sequence[Card], *, caption: str = "") -> None:
        """A grid of cards, with a filter for each tag that has at least two values."""
        values: dict[str, dict[str, int]] = {}
        for card in cards:
            for name, value in card.tags.items():
                counts = values.setdefault(name, {})
                counts[value] = counts.get(value, 0) + 1
        filters = {name: counts for name, counts in values.items() if len(counts) > 1}
        shown = [{**self._card(card), "tags": dict(card.tags), "mark": card.mark, "alt": card.alt} for card in cards]
        self._add("pictures", cards=shown, filters=filters, caption=caption)

    def _card(self, card: Card) -> dict[str, Any]:
        number = None
        if card.picture is not None:
            if not card.picture.startswith("data:image/"):
                raise ValueError("a card's picture is a data URI of an image; make it with `thumbnail`")
            number = self.pictures_once.setdefault(card.picture, len(self.pictures_once))
        return {"title": card.title, "lines": [[*line] for line in card.lines], "picture": number}

    def html(self) -> str:
        """The whole page as text."""
        environment = Environment(loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined)
        environment.filters |= {"prose": prose, "script_json": script_json}
        source = lambda name: environment.loader.get_source(environment, name)[0]  # type: ignore[union-attr] # noqa: E731
        scripts = [get_plotlyjs()] if any(piece["kind"] == "figure" for piece in self.pieces) else []
        scripts = [f"\n{script}\n" for script in (*scripts, source("page.js"))]
        return environment.get_template("page.html").render(
            page=self,
            css=Markup(source("page.css")),
            palette=PALETTE,
            scripts=[Markup(script) for script in scripts],
            hashes=[_hash(script) for script in scripts],
            pictures=[*self.pictures_once],
            dark_colors=dark_colors(),
        )

    def write(self, path: Path) -> Path:
        """Write the page, whole or not at all; gives `path` back."""
        write_text(path, self.html())
        return path


def prose(text: str) -> Markup:
    """Escaped text with what stands in `backticks` as code, and in **two stars** strong."""
    return Markup(BOLD.sub(r"<strong>\1</strong>", CODE.sub(r"<code>\1</code>", str(escape(text)))))


def command_line() -> str:
    """The command that this process was started with, as one would type it."""
    path = Path(sys.argv[0])
    parts: list[str] = []
    if path.name == "__main__.py":  # python -m PACKAGE
        folder = path.parent
        while (folder / "__init__.py").is_file():
            parts.insert(0, folder.name)
            folder = folder.parent
    package = ".".join(parts)
    start = ["revision"] if package == COMMAND else ["python", "-m", package] if package else [path.name]
    return shlex.join([*start, *sys.argv[1:]])


def version_facts() -> dict[str, str]:
    """The versions of what the numbers and the page depend on, as one of the page's facts."""
    return {"versions": ", ".join(f"{name} {number}" for name, number in versions(WRITTEN_BY).items())}


def _is_short(cell: str) -> bool:
    """Whether a cell is a number, a range, a share, or nothing, rather than a sentence."""
    return len(cell) <= 24 and (not cell or cell in ("-", "–", "—") or bool(NUMBER.match(cell)))


def _hash(script: str) -> str:
    """A script's hash as a content security policy takes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
