"""A LLaVA JSON's records, checked before a step is taken."""

from __future__ import annotations

from pathlib import Path

from ..corpora.texts import IMAGE_MARK, encodable, read_records
from ..errors import RevisionError
from . import run_record
from .examples import image_names


def check_records(data_args) -> None:
    """Raise RevisionError, before a step is taken, unless every record of the JSON can be learned: LLaVA's dataset
    would fail in the middle, or pair a question with no image.
    """
    path = Path(data_args.data_path or "")
    if path.suffix.lower() != ".json":
        return  # a list of several files, which LLaVA-NeXT reads
    problems = []
    names: list[str] = []
    for index, record in enumerate(read_records(path, "images")):
        problem = record_problem(record, joined=bool(data_args.revision_store))
        if problem is None and isinstance(record, dict):
            names += image_names(record)
        else:
            identity = record.get("id", index) if isinstance(record, dict) else index
            problems.append(f"'{identity}': {problem}")
    if problems:
        raise RevisionError(f"{path}: {len(problems)} record(s) cannot be learned, first {problems[0]}; mend the file")
    if names and data_args.image_folder:
        run_record.require_same_images(Path(data_args.image_folder), names)


def record_problem(record: object, *, joined: bool) -> str | None:
    """Why a record cannot be learned; where it is `joined` to a store, its conversation may be about an embedding."""
    turns = record.get("conversations") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(turns, list) or not turns:
        return "has no 'conversations'"
    parts = [turn.get(key) if isinstance(turn, dict) else None for turn in turns for key in ("from", "value")]
    if not all(isinstance(part, str) for part in parts):
        return "'conversations' must be a list of objects with 'from' and 'value'"
    names = image_names(record)
    if not all(isinstance(name, str) and name and encodable(name) and "\0" not in name for name in names):
        return "'image' is no file name"
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in names):
        return f"'{names[0]}' lies outside the image folder"
    marks = sum(turn["value"].count(IMAGE_MARK) for turn in turns)
    if names and marks != len(names):
        return f"its conversation holds {marks} {IMAGE_MARK} for {len(names)} image(s)"
    if not names and marks > joined:
        return f"its conversation holds {marks} {IMAGE_MARK} and there is no image"
    return (
        None if all(encodable(str(part)) for part in parts) else "holds half of a surrogate pair, which is no character"
    )
