"""Answers kept as they come, each with the row and image it is about, so that a stopped run asks only what is open."""

from __future__ import annotations

import json
from pathlib import Path

from .._common.files import hash_json, write_text

ROWS = "rows"  # files beside the answers: which rows this run was about


class AnswerFile:
    """Answers kept one JSON object a line; the file is named by the checkpoint and how it is asked. A key is (task,
    split, row number, prompt, length limit, hash of the row and its image).
    """

    def __init__(self, folder: Path, identity: str, rank: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._rank = folder, rank
        self._known: dict[str, str] = {}
        self._places: set[str] = set()
        for path in sorted(folder.glob(f"{identity}-*.jsonl")):
            text = path.read_text(encoding="utf-8", errors="replace")
            for line in text.split("\n"):  # an answer may hold other line ends
                try:
                    row = json.loads(line)
                    self._known[json.dumps(row["key"])] = str(row["answer"])
                    self._places.add(json.dumps(row["key"][:3]))
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue  # torn by a kill or damaged: that question is asked again
        path = folder / f"{identity}-{rank}.jsonl"
        torn = path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
        self._file = open(path, "a", encoding="utf-8")
        if torn:
            self._file.write("\n")

    def get(self, *key) -> str | None:
        """The answer kept under `key`."""
        return self._known.get(json.dumps(key))

    def has_other(self, *key) -> bool:
        """Whether an answer is kept for this row of the task as it was before: with another question or image."""
        return json.dumps(key) not in self._known and json.dumps(key[:3]) in self._places

    def add(self, *key, answer: str) -> None:
        self._file.write(json.dumps({"key": key, "answer": answer}, ensure_ascii=False) + "\n")
        self._file.flush()

    def record_rows(self, rows: dict[str, dict[int, str]]) -> None:
        """Keep which rows this process was asked about: by task, row number -> hash of the row and its image."""
        write_text(self._folder / f"{ROWS}-{self._rank}.json", json.dumps(rows) + "\n")


def clear_rows(folder: Path) -> None:
    """Drop what earlier runs recorded with `record_rows`."""
    for path in folder.glob(f"{ROWS}-*.json"):
        path.unlink()


def fingerprints(folder: Path) -> dict[str, dict]:
    """By task: how many rows the processes of a run were asked about, and one hash of all of them in their order."""
    rows: dict[str, dict[int, str]] = {}
    for path in sorted(folder.glob(f"{ROWS}-*.json")):
        for task, part in json.loads(path.read_text(encoding="utf-8")).items():
            rows.setdefault(task, {}).update({int(number): value for number, value in part.items()})
    return {
        task: {"rows": len(part), "fingerprint": hash_json([[number, part[number]] for number in sorted(part)])}
        for task, part in rows.items()
    }
