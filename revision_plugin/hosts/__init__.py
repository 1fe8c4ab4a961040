"""Hosts: one room a framework, the only rooms that import it."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import RevisionError
from . import hf, llava, llava_next  # noqa: F401  (importing registers the host)
from .base import HOSTS, Assistant, Host
from .hooks import Hook, HookTable

CHOICE = "REVISION_HOST"
__all__ = ["HOSTS", "Assistant", "Hook", "HookTable", "Host", "find_host"]


def find_host(name: str | None = None, *, model: str | Path | None = None) -> Host:
    """The host that alone opens the checkpoint folder `model`; else the one called `name` (by default what the
    environment variable REVISION_HOST says), or the one that is installed, of those that need not be named.

    Raises RevisionError for an unknown one, and where several are installed and none is named.
    """
    hosts = [HOSTS.get(each)() for each in HOSTS.names()]
    if model is not None:
        own = next((host for host in hosts if host.opens(Path(model))), None)
        if own is not None:
            return own
    name = name or os.environ.get(CHOICE)
    if name:
        return HOSTS.get(name)()
    installed = [host for host in hosts if host.version() is not None and not host.by_name_alone]
    if len(installed) > 1:
        raise RevisionError(
            f"several hosts are installed ({', '.join(h.name for h in installed)}); name one: {CHOICE}=NAME"
        )
    return installed[0] if installed else HOSTS.get("llava")()  # whose check says how to install it
