"""What every host keeps to, as far as it can be seen without a training."""

from __future__ import annotations

import pkgutil

from ..hosts import HOSTS, HookTable, Host


def check_host(host: Host) -> None:
    """Check an installed host: its registration, its table of hooks, and that installing is idempotent.

    Raises AssertionError where the contract is broken. Installs the host in this process.
    """
    assert HOSTS.get(host.name) is type(host), f"'{host.name}' is registered for this class"
    assert host.version(), "the host is installed"
    assert isinstance(host.hooks, HookTable)
    for hook in host.hooks:
        assert hook.reason and hook.versions and hook.issue, f"{hook.symbol} says why it is bound"
    host.install()
    host.hooks.check()
    for hook in host.hooks:
        assert callable(pkgutil.resolve_name(hook.wrap)), f"{hook.wrap} is a function"
    applied = set(host.hooks.applied)
    host.install()
    assert host.hooks.applied == applied, "installing twice changes nothing"
