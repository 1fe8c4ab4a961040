"""What of lmms-eval's output `revision evaluate` shows: progress, the plugin's own notes, and downloads; its log has
all of it.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import time

from .._common.progress import LINE_EVERY, Advance, read_line, track
from .._common.verbosity import Verbosity, is_drawable, verbosity, wants_color
from ..errors import shown

COLORS = re.compile(r"\x1b\[[0-9;]*m")
NOTE = re.compile(r"\| (?:INFO|SUCCESS|WARNING|ERROR) +\| revision_plugin[\w.]*:[^ ]* - (.*)$")
FORMAT = "| %(levelname)s | %(name)s:%(funcName)s:%(lineno)d - %(message)s"  # as loguru's, which NOTE reads
DOWNLOAD = re.compile(r"B/s\]")
ENDS = re.compile(rb"[\r\n]+")


def show_notes() -> None:
    """In the process whose output is read: what the plugin logs there is told from what others log."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("revision_plugin")
    logger.addHandler(handler)
    logger.propagate = False


class ShownOutput(contextlib.ExitStack):
    """Reads the output of a process in pieces and shows of it what `verbosity` asks for, on standard error."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = b""
        self._done = 0
        self._told = 0.0
        self._advance: Advance | None = None

    def write(self, part: bytes) -> None:
        """Take the next piece; where it ends within a line, that waits for the next."""
        if verbosity() is Verbosity.QUIET:
            return
        if verbosity() is Verbosity.VERBOSE and is_drawable(sys.stderr) and wants_color():
            sys.stderr.buffer.write(part)
            sys.stderr.flush()
            return
        *lines, self._rest = ENDS.split(self._rest + part)
        for line in lines:
            text = COLORS.sub("", line.decode(errors="replace"))
            if verbosity() is Verbosity.VERBOSE:
                print(text, file=sys.stderr, flush=True)
            else:
                self._show(text)

    def _show(self, line: str) -> None:
        progress, note = read_line(line), NOTE.search(line)
        if progress is not None:
            if self._advance is None or progress.done < self._done:  # lmms-eval asks once more
                self.close()
                self._done = 0
                bar = track(progress.title, total=progress.total, unit=progress.unit)
                self._advance = self.enter_context(bar)
            self._advance(progress.done - self._done)
            self._done = progress.done
        elif note is not None:
            print(shown(note[1]), file=sys.stderr, flush=True)
        elif DOWNLOAD.search(line) and time.monotonic() - self._told >= LINE_EVERY:
            self._told = time.monotonic()
            print(shown(line.strip()), file=sys.stderr, flush=True)
