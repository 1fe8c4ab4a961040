"""The stages of the quickstart: each shown on the screen, timed, and with all that it prints in a log of its own."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from .._common.progress import shown_on
from .._common.timing import timed
from .._common.verbosity import Verbosity, verbosity
from ..errors import RevisionError, first_line
from .screen import Screen, open_screen

OUTPUTS = (1, 2)  # the file descriptors of standard output and standard error
LOG_NAMED = "whole log in"
READ_EVERY = 0.5  # seconds


class Stages:
    """Runs `stages` (name to title) one after the other; their logs lie in `folder`. `seconds` are by name."""

    def __init__(self, stages: Mapping[str, str], folder: Path, screen: Screen):
        self._stages, self._folder = stages, folder
        self.screen = screen
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Screen]:
        """Inside, the stage `name` runs; gives the screen for its figures.

        A failure is raised as a RevisionError in one line that names the log, which has the traceback.
        """
        log = self._folder / f"{name.replace(' ', '-')}.log"
        self.screen.begin(name)
        whole = False
        try:
            with timed(self.seconds, name), _printing_to(log), shown_on(self.screen.track):
                yield self.screen
            whole = True
        except (OSError, MemoryError):  # of the machine: they have a line of their own
            raise
        except RevisionError as error:
            if LOG_NAMED in str(error):
                raise
            raise RevisionError(f"{error} ({LOG_NAMED} {log})") from error
        except Exception as error:
            raise RevisionError(f"{self._stages[name]}: {first_line(error)} ({LOG_NAMED} {log})") from error
        finally:
            self.screen.end(name, failed=not whole)


@contextlib.contextmanager
def open_stages(stages: Mapping[str, str], folder: Path) -> Iterator[Stages]:
    """The stages of a run on the screen that the terminal, the verbosity and the environment ask for."""
    with contextlib.ExitStack() as held:
        stream = held.enter_context(_terminal())
        screen = held.enter_context(open_screen(stages, stream))
        if verbosity() is Verbosity.VERBOSE:
            held.enter_context(_following(folder, screen))
        yield Stages(stages, folder, screen)


@contextlib.contextmanager
def _terminal() -> Iterator[IO[str]]:
    """Standard error as it is now, whatever it is turned to later."""
    try:
        number = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):  # of a notebook, which has none
        yield sys.stderr
        return
    with open(number, "w", encoding=sys.stderr.encoding, errors="backslashreplace") as stream:
        yield stream


@contextlib.contextmanager
def _printing_to(log: Path) -> Iterator[None]:
    """Inside, whatever this process and those that it starts print goes to the end of `log`: what libraries in C and
    loggers print as well. The traceback of a failure does, too.
    """
    with contextlib.ExitStack() as held:
        file = held.enter_context(open(log, "a", encoding="utf-8", errors="backslashreplace", buffering=1))
        for number in OUTPUTS:
            kept = os.dup(number)
            held.callback(os.close, kept)
            held.callback(os.dup2, kept, number)
        _flush()
        for number in OUTPUTS:
            os.dup2(file.fileno(), number)
        held.callback(_flush)
        held.enter_context(contextlib.redirect_stdout(file))
        held.enter_context(contextlib.redirect_stderr(file))
        try:
            yield
        except Exception:
            traceback.print_exc(file=file)
            raise


def _flush() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()


@contextlib.contextmanager
def _following(folder: Path, screen: Screen) -> Iterator[None]:
    """Inside, what is added to the logs in `folder` is shown, each line with its log's name."""
    places = {path: path.stat().st_size for path in folder.glob("*.log")}
    ended = threading.Event()

    def show_new() -> None:
        for path in sorted(folder.glob("*.log")):
            start = places.get(path, 0)
            if path.stat().st_size < start:  # written anew
                start = 0
            with open(path, "rb") as file:
                file.seek(start)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            places[path] = start + len(whole)
            for line in whole.decode(errors="replace").splitlines():
                screen.write(f"{path.stem} | {line}")

    def follow() -> None:
        while not ended.wait(READ_EVERY):
            show_new()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        show_new()
