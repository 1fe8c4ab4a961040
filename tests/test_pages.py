"""Every command and snippet of README and docs/: which are read by the program they name, which run, and where."""

import importlib.util
import re
import shlex
from importlib.metadata import metadata

import pytest
import torch
from conftest import ROOT
from packaging.requirements import Requirement
from page_commands import PAGES, blocks, recorded

from revision_plugin.cli import PASSING_ON, build_parser
from revision_plugin.evaluation import vlmevalkit
from revision_plugin.evaluation.harness_flags import read_flags
from revision_plugin.hosts.command_line import renamed_flags
from revision_plugin.hosts.hf.training_arguments import check_flags

# programs of others, and what runs the command that a page gives
ELSEWHERE = {
    "git": "tests/hosts/test_forks.py",
    "lmms_eval": "tests/test_readme.py and tests/export/test_own_harness_class.py",
    "quickstart.sh": "tests/test_readme.py",
    "scripts.dual_encoder": "tests/scripts/test_dual_encoder.py",
    "setup.sh": "tests/scripts/test_ms_swift.py, in the environment that it makes",
    "swift": "tests/scripts/test_ms_swift.py",
    "tensorboard": "tests/hosts/test_curves.py, which reads what it would show",
    "test.sh": ".ci/run",
    "transformers": "tests/export/test_serving.py",
    "vllm": "nothing: its wheel wants a GPU, docs/serving.md says what was run by hand",
}
# where the Python of a page runs; of docs/serving.md the parts are pieces of programs, tested in tests/export
EXECUTED = {
    "README.md": "tests/test_docs.py",
    "docs/encoders.md": "tests/encoders/test_encoders.py",
    "docs/export.md": "tests/test_docs.py",
    "docs/geometry.md": "tests/test_pages.py",
    "docs/python-api.md": "tests/test_docs.py",
    "docs/serving.md": "",
}


def parse_revision(words: list[str]) -> str:
    if words[0] in PASSING_ON and "--" in words:
        place = words.index("--")
        words, passed_on = words[:place], words[place + 1 :]
        read_flags(passed_on)
    arguments = build_parser(words[0]).parse_args(words)
    assert arguments.command == words[0]
    return "revision"


def read_by_its_program(words: list[str]) -> str:
    """Has the program of a command read its words without running it; the program's name. Fails where it refuses."""
    program, *rest = words
    if program == "revision":
        return parse_revision(rest)
    if program == "ray":
        assert rest[:2] == ["job", "submit"] and rest[rest.index("--") + 1] == "revision"
        return parse_revision(rest[rest.index("--") + 2 :])
    if program == "torchrun" or rest[:2] == ["-m", "revision_plugin.cli"]:
        return parse_revision(rest[rest.index("revision_plugin.cli") + 1 :])
    if program in ("python", "deepspeed") and any(word.endswith("scripts/train.py") for word in rest):
        start = next(at for at, word in enumerate(rest) if word.endswith("scripts/train.py"))
        check_flags(renamed_flags(rest[start + 1 :]))
        return "train.py"
    if program == "python" and rest[:2] == ["-m", "revision_plugin.evaluation.vlmevalkit"]:
        vlmevalkit.build_parser().parse_args(rest[2 : rest.index("--")])
        return "vlmevalkit"
    if program == "pip":
        return install(rest)
    name = rest[1] if rest[:1] == ["-m"] else program
    assert name in ELSEWHERE, f"nothing reads {shlex.join(words)}: have it read, or say in ELSEWHERE what runs it"
    return name


def install(words: list[str]) -> str:
    """`pip install` of this checkout names an extra that it has, of anything else what reads as a requirement."""
    assert words[0] == "install"
    for word in words[1:]:
        if match := re.fullmatch(r"\.\[(\w+)\]", word):
            assert match[1] in metadata("revision-plugin").get_all("Provides-Extra")
        elif word not in ("-e", "/path/to/VLMEvalKit"):
            Requirement(word)
    return "pip"


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page(page, tmp_path, monkeypatch):
    commands = recorded(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    programs = [read_by_its_program(words) for words in commands]
    started = [
        line for block in blocks(page, "bash") for line in block.splitlines() if re.match(r"(revision|bash) ", line)
    ]
    assert len(programs) >= len(started), "a command of the page was not met"


def test_a_command_that_its_program_would_refuse_is_seen():
    for words in (["revision", "fit", "--sorce", "x"], ["torchrun", "-m", "revision_plugin.cli", "encode", "--texts"]):
        with pytest.raises(Exception, match="--help"):
            read_by_its_program(words)
    with pytest.raises(AssertionError, match="nothing reads"):
        read_by_its_program(["conda", "install"])


def test_plain_blocks_hold_no_commands():
    """A block without a language is not met above; LLaVA-NeXT's is read by tests/hosts/test_llava_next.py."""
    commands = re.compile(r"^(revision|bash|python|pip|torchrun) ", re.M)
    found = [page for page in PAGES if any(commands.search(block) for block in blocks(page, ""))]
    assert found == ["docs/forks.md"]


def test_commands_in_the_text_have_flags_that_exist():
    """`revision fit --merge` in a sentence, too: each of its flags is one of the command's."""
    wrong = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.S | re.M)
        for quoted in re.findall(r"`(revision \w+[^`]*)`", text):
            command, *words = quoted.split()[1:]
            known = {flag for action in _flags_of(command) for flag in action.option_strings}
            wrong += [f"{page}: {quoted}" for word in words if word.startswith("--") and word not in known]
    assert not wrong


def _flags_of(command: str):
    (subparsers,) = (action for action in build_parser(command)._actions if action.choices)
    return subparsers.choices[command]._actions


def test_modules_that_pages_run_exist():
    for page in PAGES:
        for module in re.findall(r"python -m ((?:scripts|revision_plugin)[\w.]*)", (ROOT / page).read_text()):
            assert importlib.util.find_spec(module), f"{page} names {module}"
        for script in re.findall(r"(?:python|bash) ((?:scripts|tests)/[\w/]+\.(?:py|sh))", (ROOT / page).read_text()):
            assert (ROOT / script).is_file(), f"{page} names {script}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_the_python_of_a_page(page):
    for snippet in blocks(page, "python"):
        compile(snippet, page, "exec")
    assert page in EXECUTED, "say in EXECUTED what runs the Python of this page"


def test_the_geometry_pages_snippet(tmp_path, monkeypatch):
    """The two lines in a training loop of one's own, with the names that the page leaves to its reader."""
    (snippet,) = blocks("docs/geometry.md", "python")
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Linear(6, 6)
    names = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    points = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    names["probe"] = lambda model: tuple(torch.nn.functional.normalize(model(x), dim=1) for x in (points, points + 1))
    exec(compile(snippet, "geometry.md", "exec"), names)
    for _ in range(21):
        names["optimizer"].zero_grad()
        model(points).square().sum().backward()
        names["optimizer"].step()
    assert len((tmp_path / "monitor.jsonl").read_text().splitlines()) >= 1


def test_the_readme_quotes_its_pages():
    """Commands and figures that stand in README and on a page are the same lines."""
    readme = (ROOT / "README.md").read_text()
    start, data, quickstart = (
        (ROOT / "docs" / f"{name}.md").read_text() for name in ("index", "own-data", "quickstart")
    )
    first, *install, five = blocks("README.md", "bash")
    assert first in start and all(block in start for block in install) and five in data
    rows = [line for line in readme.splitlines() if re.match(r"\| (text|paired)", line)]
    assert len(rows) == 3 and all(row in quickstart.splitlines() for row in rows)


def test_links_of_readme_and_contributing_lead_to_files():
    """The links of docs/ are checked by the site's strict build."""
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / page).read_text()):
            assert (ROOT / target).exists(), f"{page} links {target}"
