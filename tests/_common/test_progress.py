"""Progress where there is no terminal, and how much a command says."""

import contextlib
import io
import logging
import os
import warnings

import pytest

from revision_plugin._common import progress
from revision_plugin._common.library_noise import LOGGED, SETTINGS, VERBOSE_SETTINGS, quiet_libraries
from revision_plugin._common.progress import Lines, Shown, rate_text, read_line, shown_on, track
from revision_plugin._common.verbosity import Verbosity, choose_verbosity, is_drawable


@pytest.fixture
def clock(monkeypatch):
    """Sets what `time.monotonic` gives in progress.py."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    for name in (*SETTINGS, *VERBOSE_SETTINGS):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)
    yield
    choose_verbosity(Verbosity.NORMAL)
    quiet_libraries(Verbosity.VERBOSE)  # takes all filters away


def test_lines_come_ever_more_seldom_with_rate_and_time_left(clock):
    written = []
    lines = Lines("work", 400, "item", written.append)
    for second in range(1, 41):
        clock(second)
        lines.advance(10)
    lines.end()
    moments = [int(line.split()[1]) // 10 for line in written]
    assert moments == [1, 2, 4, 8, 16, 26, 36, 40]  # twice the time, then every ten seconds, and the end
    assert written[0] == "work: 10 of 400 items, 10 items a second, 0:00:39 left"
    assert written[-1] == "work: 400 of 400 items, 10 items a second, 0:00:40 in all"
    assert read_line(written[0]) == Shown("work", 10, 400, "item") and read_line("a line: of another kind") is None


def test_without_a_total_there_is_a_rate_alone(clock):
    written = []
    lines = Lines("work", None, "item", written.append, delay=3)
    clock(2)
    lines.advance(5)
    lines.end()
    assert not written, "work shorter than the delay has no line"
    clock(4)
    lines.advance(5)
    assert written == ["work: 10 items, 2.5 items a second"] and read_line(written[0]) == Shown(
        "work", 10, None, "item"
    )


def test_rates_have_three_digits():
    assert [rate_text(rate, "row") for rate in (0.01234, 5, 99.94, 123456.7)] == [
        "0.0123 rows a second",
        "5 rows a second",
        "99.9 rows a second",
        "123,457 rows a second",
    ]


def test_work_is_shown_in_one_place(capsys):
    seen = []

    def display(title, *, total, unit):
        seen.append((title, total, unit))
        return contextlib.nullcontext(seen.append)

    with shown_on(display), track("work", total=2, unit="item") as advance:
        advance(2)
    assert seen == [("work", 2, "item"), 2] and not capsys.readouterr().err
    with track("work", total=2, unit="item") as advance:
        advance(2)
    assert capsys.readouterr().err.startswith("work: 2 of 2 items, ")
    choose_verbosity(Verbosity.QUIET)
    with track("work", total=2, unit="item") as advance:
        advance(2)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("known", LOGGED, ids=lambda known: known.logger)
def test_known_noise_is_stopped_and_nothing_else(known, caplog):
    logger = logging.getLogger(known.logger)
    for verbosity, stopped in ((Verbosity.NORMAL, True), (Verbosity.VERBOSE, False), (Verbosity.QUIET, True)):
        quiet_libraries(verbosity)
        caplog.clear()
        logger.warning(known.beginning + ": %s", "why")
        logger.warning("something else")
        assert [record.message for record in caplog.records] == [
            *([] if stopped else [f"{known.beginning}: why"]),
            "something else",
        ]


def test_the_users_own_settings_stay(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    quiet_libraries(Verbosity.NORMAL)
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true" and os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] == "1"
    assert "TRANSFORMERS_VERBOSITY" not in os.environ
    quiet_libraries(Verbosity.VERBOSE)
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"


def test_warnings_are_shown_unless_quiet_is_asked_for():
    for verbosity, expected in ((Verbosity.NORMAL, 1), (Verbosity.VERBOSE, 1), (Verbosity.QUIET, 0)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            quiet_libraries(verbosity)
            warnings.warn("your data is odd", UserWarning, stacklevel=1)
        assert len(caught) == expected


def test_what_can_be_drawn_on(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert is_drawable(Terminal()) and not is_drawable(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not is_drawable(Terminal())
