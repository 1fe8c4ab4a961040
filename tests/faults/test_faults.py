"""Injects every fault of the catalogue and the kills, and checks the line, the exit status and what is left."""

import hashlib
import re
import shutil
import signal
import time

import artefact_faults  # noqa: F401  (which adds its faults, as those below)
import command_faults  # noqa: F401
import data_faults  # noqa: F401
import feature_faults  # noqa: F401
import model_faults  # noqa: F401
import moments_faults  # noqa: F401
import object_store_faults  # noqa: F401
import pytest
import shard_faults  # noqa: F401
from catalogue import ENCODE_IMAGES, ENCODE_TEXTS, FAULTS, FIT, HELD
from conftest import ENVIRONMENT, FORKS, run
from page import DOCS, table

from revision_plugin.cli import main
from revision_plugin.demo import corpus
from revision_plugin.demo import world as demo_world
from revision_plugin.embeddings.store import Store


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A folder with everything in order: texts.json, images/, paired.json, the stores texts and images, the aligner
    realign.
    """
    root = tmp_path_factory.mktemp("sound")
    scenes = demo_world.sample_scenes(12, seed=1, held_out=False)
    names = corpus.write_images(scenes, root / "pictures", seed=1)
    corpus.write_corpus(root / "texts.json", corpus.caption_records(scenes))
    corpus.write_corpus(root / "paired.json", corpus.caption_records(scenes, names))
    run("encode", "--encoder", "demo", "--texts", root / "texts.json", "--out", root / "texts")
    run("encode", "--encoder", "demo", "--images", root / "pictures", "--out", root / "images")
    run("fit", "--source", root / "texts", "--target", root / "images", "--out", root / "realign")
    return root


@pytest.fixture
def world(sound, tmp_path):
    """A copy of `sound` to damage."""
    shutil.copytree(sound, tmp_path / "w")
    return tmp_path / "w"


def contents(root):
    """Hash of every file below `root` that is no output of the command."""
    return {
        p: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in root.rglob("*")
        if p.is_file() and not p.relative_to(root).parts[0].startswith("new")
    }


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault(fault, world, capsys, monkeypatch, request):
    words = fault.command.split()
    brought = {"stage1": {"stage1": "stage1", "llm": "tiny_llm"}, "hf:clip": {"clip": "tiny_clip"}}
    for word in brought.keys() & {*words}:
        for name, fixture in brought[word].items():
            shutil.copytree(request.getfixturevalue(fixture), world / name)
    fault.inject(world)
    monkeypatch.chdir(world)
    before, occupied = contents(world), (world / "new").exists()
    status = 0
    try:
        main(words)
    except SystemExit as stopped:
        status = stopped.code
    finally:
        HELD.close()
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.strip()]
    assert status == fault.status, lines
    if fault.status:
        errors = [line for line in lines if line.startswith("error: ")]
        assert len(errors) == 1 and fault.line in errors[0], lines
        assert not any("Traceback" in line for line in lines)
        assert (world / "new").exists() == occupied, "nothing under the final name"
    else:
        assert any(fault.line in line for line in lines) or not fault.line
        Store.open(world / "new").verify()
    assert contents(world) == before
    assert not (world / "ran").exists(), "a pickle ran code"


SLOW_ENCODE = """
import sys, time
import revision_plugin.embeddings.encode as e
from revision_plugin.embeddings.writer import StoreWriter
e.CHUNK_ROWS = 2
write = StoreWriter.write_chunk
def slow(self, *arguments, **keywords):
    write(self, *arguments, **keywords)
    print("wrote chunk", arguments[0], flush=True)
    time.sleep(0.3)
StoreWriter.write_chunk = slow
from revision_plugin.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number, status", [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
@pytest.mark.parametrize("words", [ENCODE_TEXTS, ENCODE_IMAGES])
def test_a_stopped_encode_resumes(world, number, status, words, tmp_path):
    log = tmp_path / "log"

    def start(out):
        arguments = words.replace("new", out).split()
        with open(log, "w") as file:
            return FORKS.popen(
                ["-c", SLOW_ENCODE, *arguments], environment=ENVIRONMENT, cwd=world, stdout=file, stderr=file
            )

    process = start("new")
    while len(list((world / "new.partial" / "chunks").glob("*-*.json"))) < 2:
        assert process.poll() is None, log.read_text()
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(timeout=60) == status and not (world / "new").exists()
    stderr = log.read_text()
    if number == signal.SIGINT:
        assert "error: interrupted; repeat the command to resume" in stderr
    done = len(list((world / "new.partial" / "chunks").glob("*-*.json")))
    assert 2 <= done < 6
    for out, wanted in (("new", range(done, 6)), ("whole", range(6))):
        process = start(out)
        assert process.wait(timeout=120) == 0, log.read_text()
        written = [int(number) for number in re.findall(r"wrote chunk (\d+)", log.read_text())]
        assert written == [*wanted], "what was done is not done again"
    assert Store.open(world / "new").manifest.content_hash == Store.open(world / "whole").manifest.content_hash


@pytest.mark.slow
@pytest.mark.parametrize("words", [ENCODE_TEXTS, FIT])
def test_no_space_left(world, words):
    """A file-size limit stands in for a full disk: from the command's start every write beyond 1 KB fails."""
    script = (
        "import resource, torch, datasets, open_clip, torch.distributed.nn\nfrom revision_plugin.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\nmain()"
    )
    done = FORKS.run(["-c", script, *words.split()], environment=ENVIRONMENT, cwd=world)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(lines) == 1 and "cannot be written" in lines[0], done.stderr[-2000:]
    assert not (world / "new").exists()
    done = FORKS.run(["-m", "revision_plugin.cli", *words.split()], environment=ENVIRONMENT, cwd=world)
    assert done.returncode == 0 and (world / "new").exists(), done.stderr[-2000:]


@pytest.mark.slow
def test_a_killed_fit_leaves_no_aligner_or_a_whole_one(world):
    """Killed in its statistics, and twice while it writes."""
    from revision_plugin.aligners import load_aligner

    for name in ("stream_moments", "new_folder", "write_json"):
        script = (
            f"import os, revision_plugin.aligners.base as base\nbase.{name} = lambda *a, **k: os.kill(os.getpid(), 9)\n"
            "from revision_plugin.cli import main\nmain()"
        )
        done = FORKS.run(["-c", script, *FIT.split()], environment=ENVIRONMENT, cwd=world)
        assert done.returncode == -9, done.stderr[-2000:]
        assert not (world / "new").exists()
    done = FORKS.run(["-m", "revision_plugin.cli", *FIT.split()], environment=ENVIRONMENT, cwd=world)
    assert done.returncode == 0 and load_aligner(world / "new").method == "realign", done.stderr


def test_the_table_in_the_docs_is_this_suite():
    assert DOCS.read_text() == table(), "run 'python tests/faults/page.py'"
