"""The files of a study whose tables stand on a page of docs/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from revision_plugin._common.files import write_json


def write_study(out: Path, name: str, record: dict, page: Callable[[], str]) -> None:
    """Write NAME.json, then the tables that `page` makes of it as NAME.md, and print these."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", record)
    text = page()
    (out / f"{name}.md").write_text(f"{text}\n", "utf-8")
    print(text)
