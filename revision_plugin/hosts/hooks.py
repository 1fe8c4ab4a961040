"""What a host rebinds at run time: one table a host, one hook a symbol, and nothing is applied by asking."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
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

    What a hook needs is probed where it is applied, whatever version is installed: that the symbol is there, that it
    `takes` these parameters, and what the function `probe` (named as `wrap` is) says of it: the problem, or None.
    `versions` says which ones need the hook, for readers.
    """

    symbol: str
    reason: str
    wrap: str
    versions: str = "all"
    issue: str = NO_ISSUE
    also: tuple[str, ...] = ()
    adds: bool = False
    optional: bool = False
    takes: tuple[str, ...] = ()
    probe: str = ""

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


def probed(hook: Hook, found: Any) -> str | None:
    """What keeps `found` from being what `hook` needs, or None."""
    if hook.takes:
        try:
            parameters = inspect.signature(found).parameters
        except (TypeError, ValueError):
            return "its parameters cannot be told"
        any_keyword = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        lacking = [name for name in hook.takes if name not in parameters]
        if lacking and not any_keyword:
            return f"it no longer takes '{lacking[0]}'"
    return pkgutil.resolve_name(hook.probe)(found) if hook.probe else None


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
        places = self._places(pending)
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

    def examine(self, import_host: Callable[[], None]) -> dict[str, str | None]:
        """What each hook's probe says of the installed versions, by symbol: a problem, or None where it holds.

        The hooks before the host's import are applied, so that it can be imported; the others are only looked at. An
        optional hook whose symbol this version lacks is left out.
        """
        found: dict[str, str | None] = {}

        def look(hook: Hook, act: Callable[[Sequence[Hook]], object]) -> None:
            try:
                if self._applies(hook):
                    found[hook.symbol] = None
                    act([hook])
            except RevisionError as error:
                found[hook.symbol] = str(error)

        for hook in self.before:
            look(hook, self._apply)
        try:
            import_host()
        except RevisionError as error:
            found[self.binds_to] = str(error)
            return found
        for hook in self.after:
            look(hook, self._places)
        return found

    def check(self) -> None:
        """Raise RevisionError for a symbol that has moved; for use once the host is imported."""
        for hook in self:
            for symbol in hook.symbols if self._applies(hook) else ():
                self._find(symbol, hook)

    def _places(self, hooks: Sequence[Hook]) -> dict[str, tuple[Any, str]]:
        """Where the symbols of `hooks` are. Raises RevisionError where one has moved or is not what its hook needs."""
        places = {symbol: self._find(symbol, hook) for hook in hooks for symbol in hook.symbols}
        for hook in hooks:
            problem = probed(hook, getattr(*places[hook.symbol], None))
            if problem:
                raise RevisionError(self._moved(hook.symbol, problem))
        return places

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
        return f"{symbol} is not what this release binds to in {self.binds_to}: {reason}"
