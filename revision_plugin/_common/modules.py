"""Modules of the user's own, which a spec `python:MODULE:NAME` names."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType

from ..errors import RevisionError, first_line
from .files import hash_file


def import_of_user(says: str, name: str) -> ModuleType:
    """The module `name`, imported; the working directory is searched too.

    Raises RevisionError, which opens with `says`, where it does not import.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever a module of the user's raises
        raise RevisionError(f"{says}: {name} does not import: {first_line(error)}") from error


def module_file(name: str) -> Path | None:
    """The file that `import name` would run, found without running anything; None where there is none.

    The working directory counts, as it does in `import_of_user`.
    """
    places: list[str] | None = ["", *sys.path]
    found = None
    for part in name.split("."):
        found = importlib.machinery.PathFinder.find_spec(part, places)
        if found is None:
            return None
        places = list(found.submodule_search_locations or [])
    return Path(found.origin) if found and found.origin and Path(found.origin).is_file() else None


def module_record(name: str) -> dict[str, str]:
    """What an artefact keeps of a module that made it: its name and its file's SHA-256."""
    file = module_file(name)
    return {"module": name, "sha256": hash_file(file)} if file else {"module": name}
