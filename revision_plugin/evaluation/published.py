"""The papers' own tables."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import RevisionError
from .benchmarks import BENCHMARKS
from .results import Row, Score


def tables() -> dict[str, dict]:
    """The papers' tables by name, each with title, source and rows."""
    return json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))["tables"]


def published_rows(name: str) -> list[Row]:
    """The rows of one of the papers' tables: their eleven scores in percent where they are printed, and the printed
    average. Raises RevisionError for an unknown table.
    """
    known = tables()
    if name not in known:
        listed = "; ".join(f"{key} ({table['title']})" for key, table in known.items())
        raise RevisionError(f"no published table '{name}'; there are {listed}")
    rows = []
    for label, entry in known[name]["rows"].items():
        scores = dict(zip(BENCHMARKS, map(Score, entry.get("scores", []))))
        rows.append(
            Row(
                f"{label} (published)",
                scores,
                entry.get("relative_cost"),
                entry.get("average"),
                entry.get("note", ""),
            )
        )
    return rows
