"""`revision demo` in a browser: two checkpoints side by side, and what an image's embedding lies near to.

With REVISION_QUICKSTART, the folder of a finished quickstart, it is that of its checkpoints, and the picture of
docs/demo.md is taken again.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import untrained
from browser import beyond_this_machine, chromium, open_page
from conftest import ENVIRONMENT, ROOT, run

from revision_plugin.cli import build_parser
from revision_plugin.demo.world import ASSETS

pytest.importorskip("gradio")
pytestmark = pytest.mark.slow
PAGE = ROOT / "docs" / "demo.md"
QUICKSTART = os.environ.get("REVISION_QUICKSTART")
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
def quickstart(tiny_llm, stores, tmp_path_factory):
    """What docs/demo.md's command names: two checkpoints that answer, one that writes captions, stores, an aligner."""
    if QUICKSTART:
        return Path(QUICKSTART)
    root = tmp_path_factory.mktemp("demo") / "quickstart"
    settings = {"stage2-without": ("v1", 1), "stage2-realign": ("v1", 2), "stage1-realign": ("plain", 1)}
    for name, (version, tokens) in settings.items():
        untrained.checkpoint(root / name, tiny_llm, "demo", version=version, revision_tokens=tokens)
    for name, store in {"texts": "texts", "images": "images", "aligner-realign": "realign"}.items():
        (root / name).symlink_to(stores / store)
    return root


@pytest.fixture(scope="module")
def demo(quickstart, tmp_path_factory):
    """The command as a process; its address, its folder for temporary files, and the log of its errors."""
    root = tmp_path_factory.mktemp("demo")
    (root / "site").mkdir()
    (root / "tmp").mkdir()
    (root / "site" / "sitecustomize.py").write_text(AUDIT.format(log=str(root / "beyond.log")))
    (root / "quickstart").symlink_to(quickstart)
    command = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.S)[1]
    words = shlex.split(command.replace("\\\n", " "))[1:]
    build_parser("demo").parse_args(words)
    environment = {
        **ENVIRONMENT,
        "TMPDIR": str(root / "tmp"),
        "PYTHONPATH": os.pathsep.join(map(str, [root / "site", ROOT])),
    }
    with (root / "errors.log").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "revision_plugin.cli", *words, "--max-new-tokens", "24", "--device", "cpu"],
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
        left = [each for name in ("*.png", "revision-demo-*") for each in (root / "tmp").rglob(name)]
        assert not left, "all that was uploaded is gone"
        assert not (root / "beyond.log").exists(), "the process speaks to this machine alone"
    finally:
        killer.cancel()
        process.kill()
        process.wait()


def answers_of(model, picture, capsys, question):
    capsys.readouterr()
    run("ask", "--model", model, "--device", "cpu", "--max-new-tokens", 24, "--image", picture, *question)
    return capsys.readouterr().out.removesuffix("\n")


def test_an_image_is_asked_about_and_looked_at(demo, quickstart, world_files, tmp_path, capsys):
    address, temporary, log = demo
    picture = sorted((world_files / "images").iterdir())[0]
    columns = ("stage2-without", "stage2-realign")
    expected = [answers_of(quickstart / name, picture, capsys, [QUESTION]) for name in columns]
    base = () if QUICKSTART is None else ("--base", ASSETS / "llm")
    caption = answers_of(quickstart / "stage1-realign", picture, capsys, base)
    assert caption and (QUICKSTART or expected[0] != expected[1])
    (tmp_path / "broken.png").write_bytes(picture.read_bytes()[:300])
    with chromium() as browser, open_page(browser, address) as watched:
        page = watched.page
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
        for label, answer in zip(columns, expected):
            column = page.locator(".answer", has_text=label).locator("textarea").first
            page.wait_for_function("([box, text]) => box.value === text", arg=[column.element_handle(), answer])
        page.get_by_role("tab", name="What does it see?").click()
        page.locator("#look").click()
        page.locator(".nearest table").nth(1).wait_for()
        page.locator("#clouds .main-svg").first.wait_for()
        assert page.locator(".nearest table").count() == 2
        assert page.locator(".nearest tbody tr").count() == 16 and page.locator("#cosines tbody tr").count() == 3
        assert page.get_by_label(re.compile("caption that stage1-realign reads out")).input_value() == caption
        if QUICKSTART:
            page.screenshot(path=PAGE.parent / "pictures" / "demo.png")
        page.locator("#examples button").first.click()
        page.locator(".nearest table").first.wait_for(state="detached")  # what was said of the image before
        page.get_by_role("tab", name="Ask").click()
        assert page.locator(".answer textarea").first.input_value() == ""
        assert page.get_by_label("Question").input_value() not in ("", QUESTION)
    assert not watched.errors and watched.requests and not beyond_this_machine(watched.requests)
    assert [*temporary.rglob(picture.name)], "an upload is kept here, and nowhere else"
    assert "Traceback" not in log.read_text()
