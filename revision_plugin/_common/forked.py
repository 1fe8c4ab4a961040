"""Processes that find their libraries loaded: each is forked from one process that has imported them, so a second
training begins in a fraction of a second.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import process
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch

from .processes import changed_environment


@contextlib.contextmanager
def forked_processes(modules: Sequence[str], threads: int) -> Iterator[ForkServerContext]:
    """A context of `multiprocessing` whose processes are forked from one that has imported `modules`, and use
    `threads` threads each. Each must call `enter` first.

    The process that they are forked from starts with the first of them, in the environment that holds here.
    """
    wanted = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", "TORCH_WARM_POOL": "0"}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    with changed_environment(wanted):
        yield context


def enter(log: Path, threads: int) -> None:
    """In such a process: take so many threads, write all output to the end of `log`, and end with the process that
    asked for this one, even if that is killed.
    """
    torch.set_num_threads(threads)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    _end_with_parent()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("only a process of forked_processes can enter")
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def call(log: Path, threads: int, function: Callable[..., Any], arguments: tuple) -> None:
    """What a process of one task runs: `enter`, then the task."""
    enter(log, threads)
    function(*arguments)


class ForkedModule:
    """What `subprocess.Popen` is for a command `python ... -m MODULE WORDS`, as a fork of this process, which has
    imported what the module needs. Its output and errors come together from `stdout`.
    """

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], **_: Any):
        place = command.index("-m")
        reading, writing = os.pipe()
        arguments = (command[place + 1], command[place + 2 :], writing, env)
        self._process = multiprocessing.get_context("fork").Process(target=_run_module, args=arguments)
        self._process.start()
        os.close(writing)
        self.stdout = open(reading, "rb", buffering=0)

    def wait(self) -> int | None:
        """Its exit status, when it has ended."""
        self._process.join()
        self.stdout.close()
        return self._process.exitcode

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()


def _run_module(module: str, words: Sequence[str], output: int, environment: Mapping[str, str]) -> None:
    os.dup2(output, 1)
    os.dup2(output, 2)
    # this process may have put something else in their place
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    _end_with_parent()
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
