"""What commands print: nothing that a user can do nothing about, and as much as is asked for."""

import json
import logging
import os
import pty
import re
import select
import subprocess
import sys
import termios

import numpy as np
import pytest
from conftest import ROOT, refuse, run
from PIL import Image

from revision_plugin._common.verbosity import Verbosity, choose_verbosity

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    (folder / "texts.json").write_text(json.dumps([{"id": n, "text": f"{n} dogs"} for n in range(20)]))
    (folder / "images").mkdir()
    for number in range(5):
        pixels = np.full((16, 16, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    return folder


@pytest.fixture(autouse=True)
def as_before():
    logger = logging.getLogger("revision_plugin")
    level = logger.level
    yield
    choose_verbosity(Verbosity.NORMAL)
    logger.setLevel(level)


def encode(corpora, out, *more):
    words = ["encode", "--encoder", "demo", "--images", corpora / "images", "--out", out, "--device", "cpu", *more]
    return [sys.executable, "-P", "-m", "revision_plugin.cli", *map(str, words)]


@pytest.mark.slow
def test_a_command_in_a_pipe_prints_its_notes_and_lines_alone(corpora, tmp_path):
    done = subprocess.run(
        encode(corpora, tmp_path / "i"), capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'i'}: 5 image embeddings of dimension 192\n"
    first, *lines = done.stderr.splitlines()
    assert first == "encoding on cpu"
    assert lines and all(re.match(r"encode images: \d of 5 items, ", line) for line in lines)
    assert not CONTROL.search(done.stderr)


@pytest.mark.slow
def test_a_terminal_gets_a_bar_without_colours(corpora, tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    started = subprocess.Popen(
        encode(corpora, tmp_path / "i"),
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "NO_COLOR": "1"},
    )
    written = b""
    while started.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            written += os.read(ours, 65536)
    os.close(ours)
    os.close(theirs)
    text = written.decode()
    assert started.returncode == 0 and re.search(r"\rencode images: 100%\|.*5/5 \[.*item/s\]", text), text
    assert not re.search(r"\x1b\[[\d;]*m", text) and "arning" not in text


def test_quiet_prints_the_result_alone(corpora, tmp_path, capsys):
    run("--quiet", "encode", "--encoder", "demo", "--texts", corpora / "texts.json", "--out", tmp_path / "t")
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 't'}: 20 text embeddings of dimension 192\n" and not printed.err
    run("encode", "--quiet", "--encoder", "demo", "--images", corpora / "images", "--out", tmp_path / "i")
    assert not capsys.readouterr().err
    line = refuse(capsys, "fit", "--quiet", "--source", tmp_path / "no", "--target", tmp_path / "i", "--out", "x")
    assert "no such embedding store" in line


def test_verbose_and_quiet_are_told_by_the_help_and_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    text = capsys.readouterr().out
    assert "--quiet" in text and "--verbose" in text and "Results go to standard output" in text
    assert "--quiet and --verbose are opposites" in refuse(capsys, "--verbose", "inspect", "--quiet", "x")
    assert "--quiet is given twice" in refuse(capsys, "--quiet", "inspect", "--quiet", "x")
