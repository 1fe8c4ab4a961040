"""`revision demo` in a browser: two checkpoints side by side, and what an image's embedding lies near to.

With REVISION_SCREENSHOTS the page is kept as docs/pictures/demo.png; with REVISION_QUICKSTART, the folder of a finished
quickstart, it is that of its checkpoints.
"""

import os
import re
import signal
import subprocess
import sys
import threading

import pytest
import untrained
from browser import browser_page
from conftest import ENVIRONMENT, ROOT, run

pytest.importorskip("gradio")
pytestmark = pytest.mark.slow
QUESTION = "what color is the background?"
# runs before anything else in the process: whom it speaks to beyond this machine is written down
AUDIT = """
import sys

def note(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if host not in (None, "127.0.0.1", "::1", "localhost", "0.0.0.0"):
        with open({log!r}, "a") as log:
            print(event, host, file=log)

sys.addaudithook(note)
"""


@pytest.fixture(scope="module")
def checkpoints(tiny_llm, tmp_path_factory):
    """Two that answer, and one that writes captions."""
    root = tmp_path_factory.mktemp("checkpoints")
    versions = {"first": "v1", "second": "v1", "captions": "plain"}
    tokens = {"first": 1, "second": 2, "captions": 1}
    return {
        name: untrained.checkpoint(root / name, tiny_llm, "demo", version=version, revision_tokens=tokens[name])
        for name, version in versions.items()
    }


@pytest.fixture(scope="module")
def demo(checkpoints, stores, tmp_path_factory):
    """The command as a process; its address, its folder for temporary files, and the log of its errors."""
    root = tmp_path_factory.mktemp("demo")
    (root / "site").mkdir()
    (root / "tmp").mkdir()
    (root / "site" / "sitecustomize.py").write_text(AUDIT.format(log=str(root / "beyond.log")))
    models = ("--model", checkpoints["first"], "--model", f"other={checkpoints['second']}")
    seen = ("--source", stores / "texts", "--target", stores / "images", "--aligner", stores / "realign")
    stage1 = ("--stage1", checkpoints["captions"], "--max-new-tokens", 12, "--device", "cpu")
    words = map(str, ["demo", *models, *seen, *stage1])
    environment = {
        **ENVIRONMENT,
        "TMPDIR": str(root / "tmp"),
        "PYTHONPATH": os.pathsep.join(map(str, [root / "site", ROOT])),
    }
    with (root / "errors.log").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "revision_plugin.cli", *words],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            cwd=root,
        )
    killer = threading.Timer(600, process.kill)
    killer.start()
    try:
        line = process.stdout.readline()
        opened = re.fullmatch(r"open (http://127\.0\.0\.1:\d+)/ \(Ctrl-C ends it\)\n", line)
        assert opened, (root / "errors.log").read_text()
        yield opened[1], root / "tmp", root / "errors.log"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert not [*(root / "tmp").iterdir()], "all that was uploaded is gone"
        assert not (root / "beyond.log").exists(), "the process speaks to this machine alone"
    finally:
        killer.cancel()
        process.kill()
        process.wait()


def answers_of(model, picture, capsys, question):
    capsys.readouterr()
    run("ask", "--model", model, "--device", "cpu", "--max-new-tokens", 12, "--image", picture, *question)
    return capsys.readouterr().out.removesuffix("\n")


def test_an_image_is_asked_about_and_looked_at(demo, checkpoints, world_files, tmp_path, capsys):
    address, temporary, log = demo
    picture = sorted((world_files / "images").iterdir())[0]
    expected = [answers_of(checkpoints[name], picture, capsys, [QUESTION]) for name in ("first", "second")]
    caption = answers_of(checkpoints["captions"], picture, capsys, [])
    assert expected[0] != expected[1] and caption
    (tmp_path / "broken.png").write_bytes(picture.read_bytes()[:300])
    with browser_page(1280, 860) as page:
        page.goto(address)
        chosen = page.locator("#picture input[type=file]")
        chosen.set_input_files(tmp_path / "broken.png")
        problem = page.locator("#problem [role=alert]")
        problem.wait_for()
        assert problem.inner_text().startswith("the image: does not decode") and "\n" not in problem.inner_text()
        assert page.locator("#picture img").count() == 0
        chosen.set_input_files(picture)
        page.locator("#picture img").wait_for()
        problem.wait_for(state="detached")
        page.get_by_label("Question").fill(QUESTION)
        page.locator("#ask").click()
        for label, answer in zip(("first", "other"), expected):
            column = page.get_by_label(label, exact=True)
            page.wait_for_function("([box, text]) => box.value === text", arg=[column.element_handle(), answer])
        page.get_by_role("tab", name="What does it see?").click()
        page.locator("#look").click()
        page.locator(".nearest table").nth(1).wait_for()
        page.locator("#clouds .main-svg").first.wait_for()
        assert page.locator(".nearest table").count() == 2
        assert page.locator(".nearest tbody tr").count() == 16 and page.locator("#cosines tbody tr").count() == 3
        assert page.get_by_label(re.compile("caption that captions reads out")).input_value() == caption
        page.locator("#examples button").first.click()
        page.locator(".nearest table").first.wait_for(state="detached")  # what was said of the image before
        page.get_by_role("tab", name="Ask").click()
        assert page.get_by_label("first", exact=True).input_value() == ""
        assert page.get_by_label("Question").input_value() not in ("", QUESTION)
    assert [*temporary.rglob(picture.name)], "an upload is kept here, and nowhere else"
    assert "Traceback" not in log.read_text()
