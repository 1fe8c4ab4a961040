"""`revision doctor`: versions, hosts, and what is bound in the one that is installed. Applies nothing in this
process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from .._common.versions import versions
from ..errors import RevisionError
from ..hosts import HOSTS, Host, find_host

# in a process of its own: checking means importing the host, with its hooks applied
CHECK = """
from revision_plugin.errors import one_line
from revision_plugin.hosts import find_host
with one_line():
    host = find_host({name!r})
    host.install()
    host.hooks.check()
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    text = "print the insertion-only diff that registers the plugin in a checkout of the host, for 'git apply'"
    parser.add_argument("--diff", action="store_true", help=text)


def run(a: argparse.Namespace) -> None:
    if a.diff:
        print(registering_diff(find_host()), end="")
        return
    for name, version in versions().items():
        print(f"{name} {version}")
    hosts = [HOSTS.get(name)() for name in HOSTS.names()]
    installed = [host for host in hosts if host.version() is not None]
    for host in hosts:
        print(f"host {host.name}: {host.version() or 'not installed'}")
        for hook in host.hooks if host in installed else ():
            places = " and ".join(hook.symbols)
            print(f"  binds {places}: {hook.reason} (versions: {hook.versions}; issue: {hook.issue})")
    if not installed:
        find_host().check()  # which says how to install one
    problems = [problem for host in installed if (problem := check_host(host))]
    if problems:
        raise RevisionError("; ".join(problems))
    print("all symbols are where these hooks look for them")


def check_host(host: Host) -> str | None:
    """What keeps the plugin out of `host`, or None."""
    code = CHECK.format(name=host.name)
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it ended without a word"]
    return f"host {host.name}: {lines[-1].removeprefix('error: ')}"


def registering_diff(host: Host) -> str:
    """The diff of `patches/`, which lies beside the package in a checkout and inside it once it is installed."""
    name = f"{host.name.replace('-', '_')}.diff"
    folders = (Path(__file__).parents[1] / "hosts" / "diffs", Path(__file__).parents[2] / "patches")
    diff_file = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if diff_file is None:
        raise RevisionError(f"host {host.name}: no diff registers the plugin there; call revision_plugin.install()")
    return diff_file.read_text(encoding="utf-8")
