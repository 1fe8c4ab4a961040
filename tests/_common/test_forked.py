"""A module's command as a fork of this process, which is read and ended as one that was started anew."""

import os
import subprocess
import sys
import time

import pytest
from conftest import ENVIRONMENT

from revision_plugin._common.forked import ForkedModule

SCRIPT = """
import os, sys
print("arguments", sys.argv[1:], "place", os.environ.get("PLACE"), "name", __name__)
print("an error", file=sys.stderr)
if sys.argv[1:] == ["wait"]:
    sys.stdin.close()
    import time
    time.sleep(60)
if sys.argv[1:] == ["fail"]:
    raise ValueError("of no use")
sys.exit(3)
"""


@pytest.fixture
def started(tmp_path, monkeypatch):
    (tmp_path / "said_module.py").write_text(SCRIPT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PLACE", "of the parent")

    def start(*words):
        return ForkedModule([sys.executable, "-P", "-m", "said_module", *words], env={"PLACE": "a"}, bufsize=0)

    return start


def read(process):
    parts = iter(lambda: process.stdout.read(4096), b"")
    return b"".join(parts).decode()


def test_what_a_command_says_and_how_it_ends(started):
    process = started("one", "two words")
    said = read(process)
    assert "arguments ['one', 'two words'] place a name __main__\n" in said and "an error\n" in said
    assert process.wait() == 3 and os.environ["PLACE"] == "of the parent"


def test_an_error_is_in_what_it_says(started):
    process = started("fail")
    assert "ValueError: of no use" in read(process) and process.wait() == 1


def test_it_can_be_ended(started):
    process = started("wait")
    assert process.stdout.read(1) == b"a"  # of "an error"
    process.terminate()
    assert process.wait() == -15


def test_it_ends_with_a_killed_parent(tmp_path):
    """So that nothing runs on unseen: the pipe it wrote to is closed by then."""
    (tmp_path / "said_module.py").write_text(SCRIPT)
    program = (
        "import sys, os; from revision_plugin._common.forked import ForkedModule\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "process = ForkedModule(['python', '-m', 'said_module', 'wait'], env=dict(os.environ))\n"
        "print(process._process.pid, flush=True); process.stdout.read(1); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    number = int(done.stdout.split()[0])
    assert done.returncode == -9
    for _ in range(100):
        if not os.path.exists(f"/proc/{number}"):
            break
        time.sleep(0.1)
    else:
        raise AssertionError("it runs on")
