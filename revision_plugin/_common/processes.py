"""Processes that end with the one that started them, and the environment that they are started in."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PR_SET_PDEATHSIG = 1  # of Linux' prctl


def start_child(command: Sequence[str], **settings: Any) -> subprocess.Popen:
    """`subprocess.Popen`, whose process gets SIGTERM when this one ends in any way, `kill -9` included (on Linux)."""
    parent = os.getpid()
    if not sys.platform.startswith("linux"):
        return subprocess.Popen(command, **settings)
    prctl = ctypes.CDLL(None).prctl  # looked up here: between fork and exec a process should do little

    def end_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was already gone
            os._exit(1)

    return subprocess.Popen(command, preexec_fn=end_with_parent, **settings)


def module_path() -> str:
    """The PYTHONPATH with which another process finds the modules that this one finds."""
    return os.pathsep.join(dict.fromkeys(path or os.getcwd() for path in sys.path))


@contextlib.contextmanager
def changed_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Inside, the environment of this process and of those that it starts has these values."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
