"""scripts/setup.sh on an interpreter without work: what pip and uv print is in a log, a failure is one line more."""

import os
import shutil
import subprocess

import pytest
from conftest import ROOT

PYTHON = """#!/usr/bin/env bash
case "$1 $2" in
    "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0" "$3/bin/uv" ;;
    "-m pip") echo "WARNING: a notice of pip" >&2 ;;
    "pip install") echo "warning: of uv" >&2; exit "${FAILS:-0}" ;;
    "--version "*) echo "Python 3.11.0" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup.sh", tmp_path / "scripts")
    for name in ("constraints.txt", "setup.py"):
        (tmp_path / name).touch()
    (tmp_path / "scripts" / "start.sh").write_text('source "$(dirname "$0")/setup.sh"\necho "ready: $venv"\n')
    python = tmp_path / "python3.11"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def start(checkout, **more):
    environment = {**os.environ, "PYTHON": str(checkout / "python3.11"), **more}
    environment.pop("TRANSFORMERS", None)
    words = ["bash", checkout / "scripts" / "start.sh"]
    return subprocess.run(words, capture_output=True, text=True, env=environment)


def test_notices_go_into_a_log(checkout):
    failed = start(checkout, FAILS="1")
    assert failed.returncode == 1 and not failed.stdout
    assert failed.stderr.splitlines()[-1] == "error: .venv could not be set up (whole log in .venv/setup.log)"
    done = start(checkout)
    assert done.stdout == "ready: .venv\n" and done.stderr == "setting up .venv (several GB, a few minutes)\n"
    log = (checkout / ".venv" / "setup.log").read_text()
    assert "a notice of pip" in log and log.count("of uv") == 2
    again = start(checkout)
    assert again.stdout == "ready: .venv\n" and not again.stderr
