"""Single commands: what `ask`, `table`, `quickstart`, `doctor` do with their flags."""

import io
import json
import sys

import numpy as np
import pytest
from conftest import ROOT, refuse, run
from PIL import Image

from revision_plugin.cli import COMMANDS, ask, build_parser
from revision_plugin.cli.arguments import FlagsOf


class Assistant:
    """Answers with the question, and keeps the batches it was given."""

    def __init__(self):
        self.batches = []

    def ask(self, images, questions, *, max_new_tokens):
        self.batches.append((list(images), list(questions)))
        return [f"answer to {question}" for question in questions]


@pytest.fixture
def assistant(monkeypatch):
    class Host:
        def load(self, *arguments, **keywords):
            return made

    made = Assistant()
    monkeypatch.setattr(ask, "find_host", lambda **_: Host())
    return made


def test_ask_reads_an_image_once_and_asks_in_batches(assistant, tmp_path, monkeypatch, capsys):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
    opened, read = [], ask.open_image
    monkeypatch.setattr(ask, "open_image", lambda path: opened.append(path) or read(path))
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"question {i}\n" for i in range(5))))
    run(
        "ask",
        "--model",
        tmp_path,
        "--image",
        tmp_path / "a.png",
        "--image",
        tmp_path / "b.png",
        "--stdin",
        "--json",
        "--batch-size",
        4,
    )
    assert len(opened) == 2 and [len(questions) for _, questions in assistant.batches] == [4, 4, 2]
    assert len({id(image) for images, _ in assistant.batches for image in images}) == 2
    printed = capsys.readouterr()
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert [row["question"] for row in rows] == [f"question {i}" for i in range(5)] * 2
    assert rows[7] == {"image": str(tmp_path / "b.png"), "question": "question 2", "answer": "answer to question 2"}
    assert "answering on cpu" in printed.err


def test_ask_without_a_question_on_standard_input(assistant, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert "--stdin: no question came" in refuse(capsys, "ask", "--model", tmp_path, "--image", "a.png", "--stdin")


def results(folder, accuracy=0.5):
    folder.mkdir(parents=True)
    record = {"results": {"revision_mme": {"acc,none": accuracy}}}
    (folder / "2026_results.json").write_text(json.dumps(record))


def test_a_name_with_a_dot_names_the_tables_files(tmp_path):
    results(tmp_path / "mine")
    run("table", tmp_path / "mine", "--out", tmp_path / "llava-1.5")
    assert {p.name for p in tmp_path.glob("llava*")} == {f"llava-1.5.{kind}" for kind in ("md", "csv", "json", "html")}


def test_a_cost_needs_a_name_that_one_folder_has(tmp_path, capsys):
    for parent in ("a", "b"):
        results(tmp_path / parent / "mine")
    (tmp_path / "cost.json").write_text('{"relative_cost": 0.4}')
    line = refuse(capsys, "table", tmp_path / "a/mine", tmp_path / "b/mine", "--cost", f"mine={tmp_path / 'cost.json'}")
    assert "2 folders are called 'mine'; rename all but one" in line


def test_the_quickstart_drops_no_wish(tmp_path, capsys):
    line = refuse(capsys, "quickstart", "--full", "--small-llm", "smollm2", "--out", tmp_path / "q")
    assert "--full is a recipe for the demo language model" in line and not (tmp_path / "q").exists()


def test_doctor_prints_the_diff_that_registers_the_plugin(capsys):
    run("doctor", "--diff")
    assert capsys.readouterr().out == (ROOT / "patches" / "llava.diff").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(command, "--help")
    assert stopped.value.code == 0 and f"usage: revision {command}" in capsys.readouterr().out


def test_defaults_are_those_of_the_functions():
    def function(*, some_count: int = 7, some_switch: bool = False, some_name: str | None = None): ...

    parser = build_parser()
    flags = FlagsOf(parser, function)
    for flag in ("--some-count", "--some-switch", "--some-name"):
        flags.add(flag)
    values = vars(parser.parse_args(["doctor"]))
    assert (values["some_count"], values["some_switch"], values["some_name"]) == (7, False, None)
    assert "(default 7)" in parser.format_help()


@pytest.mark.parametrize(
    "words, message",
    [
        (["encode", "--batch-size", "0"], "at least 1 is needed, not 0"),
        (["fit", "--seed", "-1"], "at least 0 is needed, not -1"),
        (["fit", "--held-out", "nan"], "a number from 0 to 0.5 is needed, not nan"),
        (["geometry", "--rows", "1.5"], "is needed, not 1.5"),
        (["inspect", "x", "--js"], "unrecognized arguments: --js"),
        (["inspekt"], "invalid choice: 'inspekt'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_unusable_flags_are_one_line(words, message, capsys):
    assert message in refuse(capsys, *words)


def test_ray_that_is_not_installed(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "revision_plugin._common.ray_engine", raising=False)
    (tmp_path / "texts.txt").write_text("a dog\n")
    words = ("encode", "--encoder", "demo", "--texts", tmp_path / "texts.txt", "--out", tmp_path / "s")
    line = refuse(capsys, *words, "--engine", "ray")
    assert "--engine ray: Ray is not installed" in line and "pip install ray" in line
    assert not list(tmp_path.glob("s*"))
