"""Hosts: one room a framework, the only rooms that import it."""

from __future__ import annotations

import os

from ..errors import RevisionError
from . import llava, llava_next  # noqa: F401  (importing registers the host)
from .base import HOSTS, Assistant, Host
from .hooks import Hook, HookTable

CHOICE = "REVISION_HOST"
__all__ = ["HOSTS", "Assistant", "Hook", "HookTable", "Host", "find_host"]


def find_host(name: str | None = None) -> Host:
    """The host called `name` (by default what the environment variable REVISION_HOST says), or the one that is
    installed.

    Raises RevisionError for an unknown one, and where several are installed and none is named.
    """
    name = name or os.environ.get(CHOICE)
    if name:
        return HOSTS.get(name)()
    hosts = [HOSTS.get(each)() for each in HOSTS.names()]
    installed = [host for host in hosts if host.version() is not None]
    if len(installed) > 1:
        raise RevisionError(
            f"several hosts are installed ({', '.join(h.name for h in installed)}); name one: {CHOICE}=NAME"
        )
    return installed[0] if installed else HOSTS.get("llava")()  # whose check says how to install it
