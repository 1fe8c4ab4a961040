"""Hosts: one room a framework, the only rooms that import it."""

from . import llava  # noqa: F401  (importing registers the host)
from .base import HOSTS, Binding, Host

__all__ = ["HOSTS", "Binding", "Host", "find_host"]


def find_host(name: str = "llava") -> Host:
    """The host called `name`. Raises RevisionError for an unknown one."""
    return HOSTS.get(name)()
