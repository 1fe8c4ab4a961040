"""Options as dataclass fields that say their own type and range, checked in one place."""

from __future__ import annotations

import math
from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeGuard

from ..errors import RevisionError

LARGEST = 1e300  # a whole number beyond any float has no place among options


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number from 0, and no boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < LARGEST


def option(
    default: Any, help: str = "", *, low: float | None = None, high: float | None = None, above: float | None = None
) -> Any:
    """A dataclass field whose value has the type of `default` and lies in [low, high], or above `above`.

    Where `default` is a float whole numbers pass, too; a boolean is no number. A `default` of None takes None (null in
    JSON) or such a float.
    """
    return field(default=default, metadata={"help": help, "low": low, "high": high, "above": above})


def check_options(options: Any, name: str) -> None:
    """Check every `option` field of the dataclass instance `options`.

    Raises RevisionError, naming all options of `name` with an unusable value.
    """
    problems = [problem for each in fields(options) if (problem := _problem(each, getattr(options, each.name)))]
    if problems:
        raise RevisionError(f"{name}: {'; '.join(problems)}")


def _problem(declared: Field, value: object) -> str | None:
    if "low" not in declared.metadata or declared.default is MISSING:
        return None
    kind, limits = type(declared.default), dict(declared.metadata)
    if declared.default is None and value is None:
        return None
    if kind is bool:
        return None if isinstance(value, bool) else f"{declared.name} must be true or false, not {value!r}"
    fits = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    fits = fits and abs(value) < LARGEST and math.isfinite(value)  # type: ignore[arg-type]
    low, high, above = limits["low"], limits["high"], limits["above"]
    if fits and (low is None or value >= low) and (high is None or value <= high):  # type: ignore[operator]
        if above is None or value > above:  # type: ignore[operator]
            return None
    words = {"of at least": low, "above": above, "up to": high}
    bounds = " and ".join(f"{word} {bound:g}" for word, bound in words.items() if bound is not None)
    noun = "a whole number" if kind is int else "a finite number"
    noun = f"None (null in JSON) or {noun}" if declared.default is None else noun
    return f"{declared.name} must be {' '.join(filter(None, [noun, bounds]))}, not {value!r}"
