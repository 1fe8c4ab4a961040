"""What a host rebinds at run time: one table a host, one hook a symbol, and nothing is applied by asking."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import RevisionError

NO_ISSUE = "none known"


@dataclass(frozen=True)
class Hook:
    """One upstream symbol that is rebound.

    `wrap` names a function, `package.module:function`, that takes what is there and returns what takes its place. It is
    imported when the hook is applied. `also` are places that imported the same object by value. A hook that `adds` may
    find nothing there, and is then given None; an `optional` one is passed over on versions that lack its symbol.
    """

    symbol: str
    reason: str
    wrap: str
    versions: str = "all"
    issue: str = NO_ISSUE
    also: tuple[str, ...] = ()
    adds: bool = False
    optional: bool = False

    @property
    def symbols(self) -> tuple[str, ...]:
        return (self.symbol, *self.also)


def resolve(symbol: str) -> tuple[Any, str]:
    """The object that holds `symbol`, a dotted path, and its name there. Raises ImportError where there is no such
    module.
    """
    parts = symbol.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:cut])
        try:
            holder: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            continue
        for part in parts[cut:-1]:
            holder = getattr(holder, part, None)
        return holder, parts[-1]
    raise ImportError(f"no module holds {symbol}")


@dataclass
class HookTable:
    """The hooks of one host in the order in which they are applied: some before the host can be imported, some
    after.
    """

    binds_to: str
    before: Sequence[Hook]
    after: Sequence[Hook]
    applied: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        symbols = [symbol for hook in self for symbol in hook.symbols]
        twice = sorted({symbol for symbol in symbols if symbols.count(symbol) > 1})
        if twice:
            raise ValueError(f"the hooks of {self.binds_to} wrap {twice[0]} twice")

    def __iter__(self) -> Iterator[Hook]:
        yield from self.before
        yield from self.after

    def apply_before(self) -> None:
        """Rebind, once a process, what importing the host needs. Raises RevisionError for a moved symbol."""
        for hook in self.before:  # one by one: a later one may only be found after an earlier one
            self._apply([hook])

    def apply_after(self) -> None:
        """Rebind the rest, once a process. Raises RevisionError for a moved symbol, before any of these is rebound."""
        self._apply(self.after)

    def _apply(self, hooks: Sequence[Hook]) -> None:
        pending = [hook for hook in hooks if hook.symbol not in self.applied and self._applies(hook)]
        places = {symbol: self._find(symbol, hook) for hook in pending for symbol in hook.symbols}
        for hook in pending:
            holder, name = places[hook.symbol]
            wrap = pkgutil.resolve_name(hook.wrap)
            try:
                replacement = wrap(getattr(holder, name, None))
            except AttributeError as error:
                raise RevisionError(self._moved(hook.symbol, str(error))) from error
            for symbol in hook.symbols:
                setattr(*places[symbol], replacement)
            self.applied.add(hook.symbol)

    def check(self) -> None:
        """Raise RevisionError for a symbol that has moved; for use once the host is imported."""
        for hook in self:
            for symbol in hook.symbols if self._applies(hook) else ():
                self._find(symbol, hook)

    def _applies(self, hook: Hook) -> bool:
        if not hook.optional:
            return True
        try:
            holder, name = resolve(hook.symbol)
        except ImportError:
            return False
        return hasattr(holder, name)

    def _find(self, symbol: str, hook: Hook) -> tuple[Any, str]:
        try:
            holder, name = resolve(symbol)
        except ImportError as error:
            raise RevisionError(self._moved(symbol, str(error))) from error
        if holder is None or not (hook.adds or hasattr(holder, name)):
            raise RevisionError(self._moved(symbol, "it is not there"))
        return holder, name

    def _moved(self, symbol: str, reason: str) -> str:
        return f"{symbol} has moved or does not load ({reason}); this release binds to {self.binds_to}"
