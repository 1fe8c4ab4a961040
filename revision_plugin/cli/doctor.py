"""`revision doctor`: versions, hosts, and what is bound in the one that is installed. Applies nothing in this
process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from .._common.versions import versions
from ..errors import ERROR, RevisionError
from ..hosts import HOSTS, Hook, Host, find_host

# in a process of its own: looking means importing the host, with its first hooks applied
EXAMINE = """
import json
from revision_plugin.errors import one_line
from revision_plugin.hosts import find_host
with one_line():
    host = find_host({name!r})
    host.check()
    found = host.hooks.examine(host.import_host)
    print({mark!r} + json.dumps(found))
"""
MARK = "examined: "


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
    problems = []
    for host in hosts:
        print(f"host {host.name}: {host.version() or 'not installed'}")
        if host in installed:
            found, problem = examine(host)
            problems += [f"host {host.name}: {problem}"] if problem else []
            problems += [f"host {host.name}: {each}" for each in found.values() if each]
            for hook in host.hooks:
                print(f"  {_state(hook, found)}: {' and '.join(hook.symbols)}: {hook.reason}")
    if not installed:
        find_host().check()  # which says how to install one
    if problems:
        raise RevisionError("; ".join(problems))
    print("all symbols are where these hooks look for them, and all probes hold")


def _state(hook: Hook, found: dict[str, str | None]) -> str:
    if hook.symbol in found:
        return "fails" if found[hook.symbol] else "holds"
    return "not needed here" if hook.optional else "not looked at"


def examine(host: Host) -> tuple[dict[str, str | None], str | None]:
    """What the probes of a host's hooks say, by symbol (None where one holds), and what kept them from being asked."""
    code = EXAMINE.format(name=host.name, mark=MARK)
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK)), None
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it ended without a word"]
    return {}, lines[-1].removeprefix(ERROR)


def registering_diff(host: Host) -> str:
    """The diff of `patches/`, which lies beside the package in a checkout and inside it once it is installed."""
    name = f"{host.name.replace('-', '_')}.diff"
    folders = (Path(__file__).parents[1] / "hosts" / "diffs", Path(__file__).parents[2] / "patches")
    diff_file = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if diff_file is None:
        raise RevisionError(f"host {host.name}: no diff registers the plugin there; call revision_plugin.install()")
    return diff_file.read_text(encoding="utf-8")
