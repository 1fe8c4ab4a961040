"""The page's own functions, and its server over HTTP: what it takes, refuses and removes."""

import io
import json
import sys
import time
from pathlib import Path

import pytest
from conftest import refuse
from PIL import Image

from revision_plugin.chat.uploads import MOST_BYTES, upload_folder
from revision_plugin.cli import build_parser
from revision_plugin.errors import RevisionError

pytest.importorskip("gradio")
httpx = pytest.importorskip("httpx")

from revision_plugin.chat import chat_page, own_requests, serving  # noqa: E402  (gradio may be missing)


class Parrot:
    """Says the question's words one by one; refuses to be asked nothing."""

    name, captions = "parrot", False

    def answer(self, image, question, *, max_new_tokens):
        if not question:
            raise RevisionError("this checkpoint answers questions; give one")
        words = question.split()[:max_new_tokens]
        yield from (" ".join(words[:count]) for count in range(1, len(words) + 1))


@pytest.fixture
def upload(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    return {"path": str(tmp_path / "a.png")}


def test_an_answer_comes_word_by_word_and_a_problem_as_one_line(upload, tmp_path):
    assert [*chat_page._answer(Parrot(), upload, "a red dog", 9)] == ["", "a", "a red", "a red dog"]
    for given, question, line in (
        (None, "a dog", "error: no image is there; drop one, or choose an example"),
        (upload, "", "error: this checkpoint answers questions; give one"),
        ({"path": str(tmp_path / "gone.png")}, "a dog", "error: the image is no longer kept; drop it again"),
        ({"url": "data:image/png;base64,AAAA"}, "a dog", "error: no image is there; drop one, or choose an example"),
    ):
        assert [*chat_page._answer(Parrot(), given, question, 9)][-1] == line


def test_a_broken_upload_is_taken_off_the_page_with_one_line(upload, tmp_path):
    (tmp_path / "b.png").write_bytes(b"<b>no image</b>")
    picture, problem = chat_page._check({"path": str(tmp_path / "b.png")})
    assert picture is None and problem["visible"] and problem["value"].count("<p") == 1
    for sound in (upload, None):
        kept, problem = chat_page._check(sound)
        assert kept is not None and not problem["visible"]  # the picture stays as it is


@pytest.fixture
def served(monkeypatch, capsys):
    """A page with examples, whose old uploads are removed every second, and its address."""
    monkeypatch.setattr(chat_page, "SWEEP_SECONDS", 1)
    monkeypatch.setattr(chat_page, "KEPT_SECONDS", 1)  # for gradio 0 would mean for ever
    with upload_folder("127.0.0.1") as folder:
        example = folder / "examples" / "a.png"
        example.parent.mkdir()
        Image.new("RGB", (8, 8)).save(example)
        built = chat_page.build_page([Parrot()], examples=[(str(example), "a dog")])
        try:
            serving._launch(built, "127.0.0.1", None, False)
            opened = capsys.readouterr().out.split()
            assert opened[0] == "open"
            yield opened[1].rstrip("/"), folder, built
        finally:
            built.close(verbose=False)


def test_the_server_bounds_uploads_removes_them_and_stays_at_home(served):
    address, folder, built = served
    picture = io.BytesIO()
    Image.new("RGB", (9, 9)).save(picture, "PNG")
    with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        front = client.get("/")
        assert front.headers["content-security-policy"] == own_requests.POLICY
        theme = client.get("/theme.css").text
        assert "fonts.g" not in front.text + theme and "@import" not in theme
        config = client.get("/config").json()
        assert not config["analytics_enabled"] and not config["show_error"]
        assert all(each["api_visibility"] == "private" for each in config["dependencies"])
        (path,) = client.post("/gradio_api/upload", files={"files": ("a.png", picture.getvalue())}).json()
        assert Path(path).is_relative_to(folder)
        waited = time.monotonic() + 60
        while Path(path).exists():
            assert time.monotonic() < waited, "an old upload is removed"
            time.sleep(0.2)
        assert (folder / "examples" / "a.png").is_file()
        large = client.post("/gradio_api/upload", files={"files": ("a.png", bytes(MOST_BYTES + 1))})
        assert large.status_code == 413 and "maximum allowed size" in large.text
        assert client.get("/gradio_api/file=http://203.0.113.1/a.png").status_code == 403
        remote = {"data": [{"path": "HTTPS://203.0.113.1/a.png"}], "fn_index": 0, "session_hash": "s"}
        assert client.post("/gradio_api/queue/join", json=remote).status_code == 403
        long = client.post("/gradio_api/queue/join", content=json.dumps({"data": ["a" * own_requests.MOST_BODY]}))
        assert long.status_code == 413
    assert built.max_file_size == MOST_BYTES and built._queue.max_size == chat_page.WAITING


def test_a_port_in_use_is_one_line(served):
    _, _, built = served
    other = chat_page.build_page([Parrot()])
    with pytest.raises(RevisionError, match=f"--port {built.server_port}: cannot be listened on"):
        serving._launch(other, "127.0.0.1", built.server_port, False)


def test_another_host_than_loopback_is_said(caplog, monkeypatch):
    monkeypatch.setattr("gradio.Blocks.launch", lambda *_, **settings: given.append(settings))
    given = []
    built = chat_page.build_page([Parrot()])
    for host, loopback in {
        "127.0.0.1": True,
        "::1": True,
        "localhost": True,
        "0.0.0.0": False,
        "a.example": False,
    }.items():
        caplog.clear()
        serving._launch(built, host, None, False)
        assert serving.is_loopback(host) == loopback == (f"--host {host}" not in caplog.text)
    caplog.clear()
    with pytest.raises(RevisionError, match="--share: the tunnel could not be opened"):
        serving._launch(built, "127.0.0.1", None, True)
    assert "everyone with the link" in caplog.text
    assert [each["share"] for each in given] == [False] * 5 + [True]


def test_the_flags_serve_on_loopback_alone_unless_asked():
    arguments = build_parser("demo").parse_args(["demo", "--model", "a", "--model", "b=c"])
    assert arguments.model == ["a", "b=c"] and arguments.host == "127.0.0.1" and arguments.share is False


@pytest.mark.parametrize(
    "words, line",
    [
        (["--source", "a"], "--source: texts are compared with images; give --target, too"),
        (["--target", "a"], "--target: texts are compared with images; give --source, too"),
        (["--aligner", "a"], "--aligner a: is for stores"),
        (["--model", "b/m"], "another one is called 'm' too"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(words, line, capsys):
    assert line in refuse(capsys, "demo", "--device", "cpu", "--model", "m", *words)


def test_without_gradio_the_command_says_how_to_get_it(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("revision_plugin.chat.")]:
        if name.endswith((".chat_page", ".serving")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install 'gradio>=6'" in refuse(capsys, "demo", "--model", "m")
