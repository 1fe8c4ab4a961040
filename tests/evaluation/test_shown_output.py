"""What `revision evaluate` shows of lmms-eval's output, whose log has all of it."""

import logging

import pytest

from revision_plugin._common.verbosity import Verbosity, choose_verbosity
from revision_plugin.evaluation.shown_output import FORMAT, ShownOutput

GREEN, PLAIN = "\x1b[32m", "\x1b[0m"
TIME = f"{GREEN}2026-11-28 09:24:35{PLAIN}"
OUTPUT = f"""{TIME} | INFO     | {GREEN}lmms_eval.__main__{PLAIN}:cli_evaluate:516 - Verbosity set to INFO
{TIME} | INFO     | revision_plugin.evaluation.model:__init__:75 - {GREEN}answering on cpu{PLAIN}
Some weights of X are newly initialized
Loading weights:   0%|          | 0/38 [00:00<?, ?it/s]\rLoading weights: 100%|###| 38/38 [00:00<00:00, 723.73it/s]
answer: 20 of 40 questions, 10 questions a second, 0:00:02 left
2026-11-28 09:24:37 | WARNING  | revision_plugin.evaluation.model:generate_until:140 - demo: asked again
answer: 40 of 40 questions, 10 questions a second, 0:00:04 in all
|    Tasks    |Filter|n-shot|
"""


@pytest.fixture(autouse=True)
def as_before():
    yield
    choose_verbosity(Verbosity.NORMAL)


def shown(capsysbinary, step: int) -> str:
    data = OUTPUT.encode()
    with ShownOutput() as output:
        for start in range(0, len(data), step):
            output.write(data[start : start + step])
    return capsysbinary.readouterr().err.decode()


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_progress_and_our_notes_alone(capsysbinary, step):
    lines = shown(capsysbinary, step).splitlines()
    assert lines[:2] == ["answering on cpu", "demo: asked again"]
    assert len(lines) == 3 and lines[2].startswith("answer: 40 of 40 questions, ")


def test_quiet_and_verbose(capsysbinary):
    choose_verbosity(Verbosity.QUIET)
    assert shown(capsysbinary, 10) == ""
    choose_verbosity(Verbosity.VERBOSE)
    text = OUTPUT.replace(GREEN, "").replace(PLAIN, "").replace("\r", "\n")
    assert shown(capsysbinary, 10) == text, "all of it, as lines: there is no terminal"


def test_what_the_plugin_logs_in_the_other_process_is_read_back(capsysbinary):
    record = logging.LogRecord(
        "revision_plugin.encoders.base", logging.WARNING, "f", 3, "3 texts were cut", (), None, "g"
    )
    with ShownOutput() as output:
        output.write((logging.Formatter(FORMAT).format(record) + "\n").encode())
    assert capsysbinary.readouterr().err.decode() == "3 texts were cut\n"
