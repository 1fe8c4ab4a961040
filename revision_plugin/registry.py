"""One registry class for encoders, aligners and hosts."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from .errors import RevisionError

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Exact names to entries. A name taken twice is a bug (ValueError); an unknown one says what exists.

    Other packages add to it through entry points of the group `revision_plugin.KINDs`, for instance in their setup.py
    `entry_points={"revision_plugin.aligners": ["mine = my_package.mine:MyAligner"]}`. One is loaded when it is asked
    for.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self.group = f"revision_plugin.{kind}s"
        self._entries: dict[str, Entry] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Class or function decorator that files the decorated object under `name`."""

        def add(entry: Entry) -> Entry:
            if name in self._entries:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def _installed(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    def names(self) -> list[str]:
        """All names, those of other packages included."""
        return sorted({*self._entries, *self._installed()})

    def get(self, name: str) -> Entry:
        """The entry called `name`. Raises RevisionError with near names and the whole list, or where one does not
        load.
        """
        if name not in self._entries and name in (installed := self._installed()):
            try:
                entry = installed[name].load()
            except (ImportError, AttributeError) as error:
                raise RevisionError(
                    f"{self.kind} '{name}' of the installed package '{installed[name].module}' does not load: {error}"
                ) from error
            self._entries.setdefault(name, entry)
        if name in self._entries:
            return self._entries[name]
        names = self.names()
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise RevisionError(f"unknown {self.kind} '{name}'{hint}; available: {', '.join(names)}")
