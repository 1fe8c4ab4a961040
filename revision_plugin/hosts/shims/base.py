"""What a version shim is: one upstream symbol, why it needs help, and a guarded, idempotent rebinding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...errors import RevisionError


@dataclass(frozen=True)
class Patch:
    """One shim. `apply` rebinds `symbol`; it must find the symbol first, through `require`."""

    symbol: str
    versions: str
    reason: str
    issue: str
    apply: Callable[[], None]


def require(owner: object, name: str, symbol: str):
    """The attribute to be rebound. Raises RevisionError naming the symbol where upstream has moved it."""
    found = getattr(owner, name, None)
    if found is None:
        raise RevisionError(f"{symbol} has moved in the installed version; install the tested set in constraints.txt")
    return found
