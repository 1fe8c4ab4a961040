"""The files of a study whose tables stand on a page of docs/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from revision_plugin._common.files import write_json
from revision_plugin.pages import command_line, page_of_markdown, version_facts

LIMITS = (
    "What is so in another world, or with an encoder of another size: a study is of the set-up that it names.",
    "Why its numbers are what they are; the page of docs/ that holds these tables says that.",
)


def write_study(out: Path, name: str, record: dict, page: Callable[[], str]) -> None:
    """Write NAME.json, then the tables that `page` makes of it as NAME.md and NAME.html, and print these."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", record)
    text = page()
    (out / f"{name}.md").write_text(f"{text}\n", "utf-8")
    shown = page_of_markdown(text, f"Study: {name.replace('_', ' ')}")
    shown.facts("What was run", {"command": command_line(), "numbers": f"`{name}.json`", **version_facts()})
    shown.limits(LIMITS)
    shown.write(out / f"{name}.html")
    print(text)
