"""Versions of what the numbers depend on."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("revision-plugin", "torch", "transformers", "open-clip-torch", "datasets", "numpy", "pillow")


def versions(more: Sequence[str] = ()) -> dict[str, str]:
    """Versions of this package and of what the numbers depend on, and of `more` packages where they are installed."""
    installed_versions = {}
    for name in (*PACKAGES, *more):
        try:
            installed_versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed_versions
