"""One registry class for encoders, aligners and hosts."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Generic, TypeVar

from .errors import RevisionError

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Exact names to entries. A name taken twice is a bug (ValueError); an unknown one says what exists."""

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Class or function decorator that files the decorated object under `name`."""

        def add(entry: Entry) -> Entry:
            if name in self._entries:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def names(self) -> list[str]:
        return sorted(self._entries)

    def get(self, name: str) -> Entry:
        """The entry called `name`. Raises RevisionError with near names and the whole list."""
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise RevisionError(f"unknown {self.kind} '{name}'{hint}; available: {', '.join(self.names())}")
