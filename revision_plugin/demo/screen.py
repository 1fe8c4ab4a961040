"""What the quickstart shows while it runs: its stages with their states and seconds, bars, and figures as they come.

Drawn anew in place on a terminal; lines one after the other in a pipe or a file, with TERM=dumb or NO_COLOR.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .._common.progress import Advance, Lines, rate_text
from .._common.verbosity import Verbosity, is_drawable, verbosity, wants_color

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "stopped"
STYLES = {WAITING: "dim", RUNNING: "bold", DONE: "green", FAILED: "red"}
LINE_EVERY = 30.0  # seconds between two lines of one bar, where nothing is drawn
A_SECOND = 4  # how often the drawing is renewed


class Screen(Protocol):
    """Where the stages of a run are shown. A context: it is left sane, whatever ends the run."""

    def __enter__(self) -> Screen: ...

    def __exit__(self, *error: object) -> None: ...

    def begin(self, name: str) -> None:
        """The stage `name` runs."""

    def end(self, name: str, *, failed: bool = False) -> None:
        """It is done, or was stopped."""

    def figure(self, name: str, value: str) -> None:
        """A result of the stage that runs."""

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Results of it, a row a model."""

    def track(self, title: str, *, total: int | None, unit: str) -> contextlib.AbstractContextManager[Advance]:
        """Progress of one piece of its work, as `_common.progress.Display`."""

    def write(self, line: str) -> None:
        """A line of a log, for those who asked for them."""


class Silent(contextlib.nullcontext):
    """Shows nothing."""

    def __enter__(self) -> Silent:
        return self

    def begin(self, name: str) -> None:
        pass

    def end(self, name: str, *, failed: bool = False) -> None:
        pass

    def figure(self, name: str, value: str) -> None:
        pass

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        pass

    @contextlib.contextmanager
    def track(self, title: str, *, total: int | None, unit: str) -> Iterator[Advance]:
        yield lambda n: None

    def write(self, line: str) -> None:
        pass


class Written(Silent):
    """Lines: one where a stage begins and one where it ends, one a figure, and of long work one now and then."""

    def __init__(self, stages: Mapping[str, str], stream: IO[str]):
        super().__init__()
        self._stages, self._stream = stages, stream
        self._begun: dict[str, float] = {}

    def write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def begin(self, name: str) -> None:
        self._begun[name] = time.monotonic()
        self.write(f"{self._heading(name)}: begins")

    def end(self, name: str, *, failed: bool = False) -> None:
        seconds = time.monotonic() - self._begun[name]
        self.write(f"{self._heading(name)}: {FAILED if failed else DONE} after {seconds:.1f} s")

    def figure(self, name: str, value: str) -> None:
        self.write(f"  {name}: {value}")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        for name, *values in rows:
            self.figure(name, ", ".join(f"{title} {value}" for title, value in zip(head[1:], values, strict=True)))

    @contextlib.contextmanager
    def track(self, title: str, *, total: int | None, unit: str) -> Iterator[Advance]:
        lines = Lines(title, total, unit, lambda line: self.write(f"  {line}"), first=LINE_EVERY, every=LINE_EVERY)
        yield lines.advance

    def _heading(self, name: str) -> str:
        return f"{list(self._stages).index(name) + 1}/{len(self._stages)} {self._stages[name]}"


class Rate(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else rate_text(task.speed, task.fields["unit"]), style="dim")


class Drawn:
    """The stages and the bars of the running one, drawn anew in place below the figures."""

    def __init__(self, stages: Mapping[str, str], stream: IO[str]):
        self._console = Console(file=stream)
        self._stages = stages
        self._states = dict.fromkeys(stages, WAITING)
        self._begun: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
        )
        self._bars = Progress(*columns, console=self._console)
        self._live = Live(
            get_renderable=self._drawing,
            console=self._console,
            refresh_per_second=A_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Drawn:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def _drawing(self) -> Group:
        rows = Table.grid(padding=(0, 2))
        for number, (name, title) in enumerate(self._stages.items(), 1):
            state = self._states[name]
            seconds = self._seconds.get(name)
            if state == RUNNING:
                seconds = time.monotonic() - self._begun[name]
            spent = "" if seconds is None else f"{seconds:.0f} s"
            rows.add_row(str(number), Text(title), state, spent, style=STYLES[state])
        return Group(rows, self._bars) if self._bars.tasks else Group(rows)

    def begin(self, name: str) -> None:
        self._begun[name] = time.monotonic()
        self._states[name] = RUNNING
        self._live.refresh()

    def end(self, name: str, *, failed: bool = False) -> None:
        self._seconds[name] = time.monotonic() - self._begun[name]
        self._states[name] = FAILED if failed else DONE
        self._live.refresh()

    def figure(self, name: str, value: str) -> None:
        self._console.print(Text(f"{name}: {value}"))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for column, title in enumerate(head):
            table.add_column(title, justify="right" if column else "left")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._console.print(table)

    @contextlib.contextmanager
    def track(self, title: str, *, total: int | None, unit: str) -> Iterator[Advance]:
        bar = self._bars.add_task(title, total=total, unit=unit)
        try:
            yield lambda n: self._bars.advance(bar, n)
        finally:
            self._bars.remove_task(bar)

    def write(self, line: str) -> None:
        self._console.print(Text(line))


def open_screen(stages: Mapping[str, str], stream: IO[str]) -> Screen:
    """The screen for `stages` (name to title) that `stream`, the verbosity and the environment ask for."""
    if verbosity() is Verbosity.QUIET:
        return Silent()
    drawable = is_drawable(stream) and is_drawable(sys.stdout) and wants_color()
    return Drawn(stages, stream) if drawable and verbosity() is Verbosity.NORMAL else Written(stages, stream)
