"""Hosts: one room a framework, the only rooms that import it."""

from . import llava, llava_next  # noqa: F401  (importing registers the host)
from .base import HOSTS, Binding, Host
from .llava.variant import is_next

__all__ = ["HOSTS", "Binding", "Host", "find_host"]


def find_host(name: str | None = None) -> Host:
    """The host called `name`, or the one that `import llava` would give. Raises RevisionError for an unknown one."""
    return HOSTS.get(name or ("llava-next" if is_next() else "llava"))()
