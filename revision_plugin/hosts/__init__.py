"""Hosts: one room a framework, the only rooms that import it."""

from __future__ import annotations

from ..errors import RevisionError
from . import llava, llava_next  # noqa: F401  (importing registers the host)
from .base import HOSTS, Assistant, Host
from .hooks import Hook, HookTable

__all__ = ["HOSTS", "Assistant", "Hook", "HookTable", "Host", "find_host"]


def find_host(name: str | None = None) -> Host:
    """The host called `name`, or the one that is installed.

    Raises RevisionError for an unknown one, and where several are installed and none is named.
    """
    if name is not None:
        return HOSTS.get(name)()
    hosts = [HOSTS.get(each)() for each in HOSTS.names()]
    installed = [host for host in hosts if host.version() is not None]
    if len(installed) > 1:
        raise RevisionError(
            f"several hosts are installed ({', '.join(h.name for h in installed)}); name one with --host"
        )
    return installed[0] if installed else HOSTS.get("llava")()  # whose check says how to install it
