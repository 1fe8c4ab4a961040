"""Reads a host's command line before the host does."""

from __future__ import annotations

from collections.abc import Sequence


def parse_flags(arguments: Sequence[str]) -> dict[str, str]:
    """`--flag value`, `--flag=value` and bare flags as a dictionary."""
    flags: dict[str, str] = {}
    current = None
    for argument in arguments:
        if argument.startswith("--"):
            current, _, value = argument.partition("=")
            flags[current] = value
        elif current is not None:
            flags[current] = f"{flags[current]} {argument}".strip()
    return flags


def says_true(value: object) -> bool:
    """Whether a flag's value means yes, as transformers' argument parser reads it; a bare flag does."""
    return str(value).lower() in ("", "true", "t", "yes", "y", "1")
