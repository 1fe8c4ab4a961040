"""Samples of evaluated runs as cards: the picture, the question, the reply and the right answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import load_dataset

from .._common.files import read_object
from ..errors import RevisionError
from ..pages import Card, shortened, thumbnail
from . import documents, prompts, scoring
from .benchmarks import BENCHMARKS
from .breakdown import Samples
from .mirror import mirrored, task_entry

logger = logging.getLogger(__name__)
DATA = "data.json"  # beside the results: which data `revision evaluate` read
MOST_CARDS = 480  # of a page
MOST_LETTERS = 300  # of a question or a reply
MOST_KINDS = 24  # kinds of question that a filter offers
RIGHT, WRONG = "right", "wrong"


@dataclass
class ContactSheet:
    """Cards of some samples, and lines on what is missing."""

    cards: list[Card] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def contact_sheet(samples: Mapping[str, dict[str, Samples]], folders: Mapping[str, Path]) -> ContactSheet:
    """Cards of an even choice among `samples` (run -> benchmark -> samples), whose results lie in `folders` by run.

    Pictures come from the mirrored data that the run was evaluated on, where that is still there.
    """
    sheet = ContactSheet()
    groups = [(run, name, rows) for run, found in samples.items() for name, rows in found.items() if rows]
    kinds = {kind for _, _, rows in groups for kind in map(_kind, rows)}
    for run, name, rows in groups:
        places = np.linspace(0, len(rows) - 1, min(len(rows), max(1, MOST_CARDS // len(groups)))).astype(int)
        chosen = [rows[place] for place in np.unique(places)]
        try:
            pictures = _pictures(name, chosen, folders[run])
        except RevisionError as error:
            pictures = {}
            sheet.notes.append(f"{run}, {BENCHMARKS[name].label}: no pictures ({error}).")
            logger.warning("no pictures of %s: %s", name, error)
        several = 1 < len(kinds) <= MOST_KINDS
        sheet.cards += [_card(run, name, row, pictures.get(row["doc_id"]), several) for row in chosen]
    return sheet


def _kind(sample: dict) -> str:
    """The first of the parts that a sample counts to: its category, subject or skill."""
    return str(next(iter(sample["clustered"]["parts"].values()), "other"))


def _card(run: str, name: str, sample: dict, picture: str | None, several: bool) -> Card:
    answer = RIGHT if sample["acc"] == 1 else WRONG
    tags = {"run": run, "benchmark": BENCHMARKS[name].label, "answer": answer}
    lines = [("reply", _short(sample.get("filtered_resps"))), ("right answer", _short(sample.get("target")))]
    return Card(
        _short(sample.get("input")),
        [*lines, ("run", run)],
        picture=picture,
        alt="the image that is asked about",
        tags=tags | ({"question": _kind(sample)} if several else {}),
        mark=answer,
    )


def _short(value: Any) -> str:
    return shortened(", ".join(map(str, value)) if isinstance(value, list) else str(value), MOST_LETTERS)


def _pictures(name: str, chosen: Samples, folder: Path) -> dict[int, str]:
    """By `doc_id` the first picture of each chosen sample, from the data that data.json names."""
    task = f"revision_{name}"
    record = read_object(folder / DATA).get(task) if (folder / DATA).is_file() else None
    root = record.get("data_root") if isinstance(record, dict) else None
    if not isinstance(root, str):
        raise RevisionError(f"{folder}: does not say where the data of {task} is mirrored (--data-root)")
    data = mirrored([task], Path(root))[task]
    entry = task_entry(task)
    split = load_dataset(
        str(data), entry.get("dataset_name"), split=entry["test_split"], **(entry.get("dataset_kwargs") or {})
    )
    if "process_docs" in entry:
        split = _function(entry["process_docs"])(split)
    images = _function(entry["doc_to_visual"])
    return {row["doc_id"]: thumbnail(images(split[row["doc_id"]])[0]) for row in chosen if row["doc_id"] < len(split)}


def _function(name: str):
    """A function that a task file calls by `utils.NAME`."""
    for module in (documents, prompts, scoring):
        found = getattr(module, name.removeprefix("utils."), None)
        if found is not None:
            return found
    raise RevisionError(f"the task files call '{name}', which is not there; install the package again")
