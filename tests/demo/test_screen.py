"""The quickstart's screen, on stages without work: on a terminal, in a pipe, with and without colours."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from conftest import ROOT

FAKE = Path(__file__).with_name("fake_stages.py")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")  # all but the end of a line
NOISE = re.compile("warning|deprecat|newly initialized|printed by a library", re.I)
SEQUENCE = re.compile(r"\x1b\[[?\d;]*[a-zA-Z]")
CURSOR_HIDDEN, CURSOR_SHOWN = "\x1b[?25l", "\x1b[?25h"


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**kept, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **more}


def in_pipe(folder, *how, **more):
    command = [sys.executable, FAKE, folder, *how]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**more), timeout=120)


def on_terminal(folder, *how, after=None, **more):
    """Its status and all that a terminal was given; with `after`, Ctrl-C is typed once that is there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    before = termios.tcgetattr(theirs)
    started = subprocess.Popen(
        [sys.executable, FAKE, folder, *how],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(**more),
        start_new_session=True,
    )
    written, deadline = b"", time.monotonic() + 120
    while started.poll() is None or select.select([ours], [], [], 0)[0]:
        assert time.monotonic() < deadline, written
        if select.select([ours], [], [], 0.05)[0]:
            written += os.read(ours, 65536)
        if after is not None and after.encode() in written:
            started.send_signal(signal.SIGINT)
            after = None
    same = termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
    assert same, "the terminal's settings are as they were"
    return started.returncode, written.decode()


def require_logs(folder):
    log = (folder / "first.log").read_text()
    for line in ("this is deprecated", "newly initialized", "printed by a library", "Warning: of a child"):
        assert line in log, log


@pytest.mark.parametrize("more", [{}, {"FORCE_COLOR": "1"}])
def test_a_pipe_gets_plain_lines(tmp_path, more):
    done = in_pipe(tmp_path, **more)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "report: there\n"
    assert not CONTROL.search(done.stderr) and not NOISE.search(done.stderr), done.stderr
    lines = [re.sub(r"[\d.]+ s$", "N s", line) for line in done.stderr.splitlines()]
    assert lines == [
        "1/3 the first stage: begins",
        "1/3 the first stage: done after N s",
        "2/3 the second stage: begins",
        "  centroid gap: 0.4 before, 0.1 after",
        "  nothing: its text 1.0, the image 2.0",
        "  all: its text 0.1, the image 0.2",
        "2/3 the second stage: done after N s",
        "3/3 the third stage: begins",
        "3/3 the third stage: done after N s",
    ]
    require_logs(tmp_path)


@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_must_not_be_drawn_on_gets_plain_lines(tmp_path, more):
    status, written = on_terminal(tmp_path, **more)
    assert status == 0 and "1/3 the first stage: begins" in written
    assert not CONTROL.search(written.replace("\r\n", "\n")) and not NOISE.search(written)


def test_a_terminal_shows_stages_bars_and_figures(tmp_path):
    status, written = on_terminal(tmp_path)
    assert status == 0 and not NOISE.search(written), written
    plain = SEQUENCE.sub("", written)
    for state in ("waiting", "running", "done"):
        assert f"the second stage  {state}" in plain
    assert re.search(r"work .*\d+/40.* items a second", plain), "a bar with its rate"
    assert "centroid gap: 0.4 before, 0.1 after" in plain and "trained on" in plain
    last = plain.rpartition("the third stage")[2]
    assert "done" in last and "report: there" in last, "the last drawing stays above the result"
    assert written.count(CURSOR_HIDDEN) == written.count(CURSOR_SHOWN) == 1
    require_logs(tmp_path)


def test_quiet_prints_the_result_alone(tmp_path):
    done = in_pipe(tmp_path, "quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "report: there\n", "")


def test_verbose_shows_the_logs_with_their_names(tmp_path):
    (tmp_path / "first.log").write_text("of an earlier run\n")
    done = in_pipe(tmp_path, "verbose")
    assert done.returncode == 0 and "of an earlier run" not in done.stderr
    for line in ("printed by a library", "Warning: of a child"):
        assert f"first | {line}\n" in done.stderr, done.stderr
    assert "FutureWarning: this is deprecated" in done.stderr


@pytest.mark.parametrize(
    "how, says", [("fail", "the second stage: no luck"), ("refuse", "data/x.json: is cut; get it again")]
)
def test_a_failure_is_one_line_that_names_its_log(tmp_path, how, says):
    done = in_pipe(tmp_path, how)
    assert done.returncode == 2 and not done.stdout and "Traceback" not in done.stderr
    *_, stage, error = done.stderr.splitlines()
    assert stage.startswith("2/3 the second stage: stopped after ")
    assert error == f"error: {says} (whole log in {tmp_path / 'second-one.log'})"
    assert "Traceback" in (tmp_path / "second-one.log").read_text()
    status, written = on_terminal(tmp_path, how)
    assert status == 2 and written.endswith(f"{error}\r\n") and written.count(CURSOR_SHOWN) == 1


def test_ctrl_c_leaves_the_terminal_sane(tmp_path):
    status, written = on_terminal(tmp_path, "wait", after="1 s")
    assert status == 130 and written.endswith("error: interrupted; repeat the command to resume\r\n"), written
    assert written.rindex(CURSOR_SHOWN) > written.rindex(CURSOR_HIDDEN) and "stopped" in written
