"""Every command of the README and of the page on your own data runs, in order, in a fresh shell, on tiny data."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import benchmark_data
import pytest
from conftest import ON_A_CPU, ROOT
from page_commands import blocks
from tiny_families import FAMILIES, write

BLOCKS = blocks("README.md", "bash")
FIVE, *REST = blocks("docs/own-data.md", "bash")


def test_the_blocks_are_the_ones_these_tests_run():
    assert len(BLOCKS) == 4 and len(REST) == 5 and BLOCKS[3] == FIVE
    assert len((ROOT / "README.md").read_text().splitlines()) <= 80, (
        "README is one screen; what it says more of is a page"
    )
    assert BLOCKS[0].split("#")[0].strip() == "bash scripts/quickstart.sh"
    assert "bash scripts/test.sh " in BLOCKS[0]
    assert "bash scripts/test.sh" in (ROOT / ".ci" / "run").read_text(), "CI runs the README's test command"
    assert BLOCKS[1].strip() == "source .venv/bin/activate" and BLOCKS[2].startswith('pip install ".[llava]"')


def test_the_environment_holds_the_command():
    """What `source .venv/bin/activate` gives a fresh shell; this test runs in that environment, or in its sibling's."""
    activate = Path(sys.prefix) / "bin" / "activate"
    shell = f"source {shlex.quote(str(activate))} && command -v revision && command -v python"
    done = subprocess.run(["bash", "-c", shell], env={"PATH": os.defpath}, capture_output=True, text=True)
    assert done.stdout.split() == [str(activate.with_name(name)) for name in ("revision", "python")]


@pytest.fixture
def checkout(tmp_path):
    """A copy of what git tracks, with a `.venv` that has all libraries but not the plugin."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    venv.create(tmp_path / ".venv", with_pip=True)
    (packages,) = (tmp_path / ".venv" / "lib").glob("python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return tmp_path


@pytest.mark.slow
def test_every_command_typed_in_order_in_a_fresh_shell(checkout, world_files, tmp_path_factory):
    shutil.copytree(world_files / "images", checkout / "pictures")
    shutil.copy(world_files / "texts.json", checkout / "texts.json")
    shutil.copy(world_files / "questions.json", checkout / "instructions.json")
    benchmark_data.write_all(checkout)  # lmms-eval takes OWNER/NAME in the working directory for the hub's
    documented = {
        "ENCODER": "demo",
        "LLM": str(write(tmp_path_factory.mktemp("qwen3") / "llm", FAMILIES["qwen3"])),
        "TASKS": "revision_pope",
        **ON_A_CPU,
    }
    fresh = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    typed = "\n".join(f"{block}\necho '-- end of block'" for block in [*BLOCKS[1:], *REST])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", typed],
        cwd=checkout,
        env={**fresh, "PATH": os.defpath, "HF_DATASETS_OFFLINE": "1", **documented},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    printed = done.stdout.split("-- end of block")
    assert all(block.strip() for block in printed[1:-1]), "every block but the first prints what it did"
    assert "all symbols are where these hooks look for them" in printed[1]
    _, _, _, _, _, benchmarks, shared, refitted, _ = printed
    assert "| mine | - |" in benchmarks and "ReVision (published)" in benchmarks
    assert "opens with AutoModelForImageTextToText" in shared and "refitted" in refitted
    assert "revision_pope" in (checkout / "shared-model" / "README.md").read_text()
    (raw,) = (checkout / "results" / "raw").rglob("*_results.json")
    (plugin,) = (checkout / "results" / "mine").rglob("*_results.json")
    scores = [json.loads(path.read_text())["results"]["revision_pope"]["acc,none"] for path in (raw, plugin)]
    assert scores[0] == scores[1]
    installed = next((checkout / ".venv" / "lib").glob("python*/site-packages/revision_plugin"))
    assert (installed / "evaluation" / "tasks" / "revision_pope.yaml").is_file(), "the tasks come with the package"
    assert (installed / "py.typed").is_file() and not (installed / "claims").exists()


EXPORTED_ANSWERS = """
import json, sys
import torch
from PIL import Image
from revision_plugin.demo import world
from revision_plugin.demo.questions import questions
from revision_plugin.demo.recipe import HELD_OUT_SEED, QUICK
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained(sys.argv[1], trust_remote_code=True, dtype=torch.float32).eval()
processor = AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
scenes = world.sample_scenes(QUICK.held_out, seed=HELD_OUT_SEED, held_out=True, distinct=True)
pictures = [Image.fromarray(picture) for picture in world.render_all(scenes, seed=HELD_OUT_SEED)]
asked, answers = questions(scenes, seed=HELD_OUT_SEED), []
for start in range(0, len(asked), 32):
    chats = []
    for n, question in asked[start : start + 32]:
        content = [{"type": "image", "image": pictures[n]}, {"type": "text", "text": question.text}]
        chats.append([{"role": "user", "content": content}])
    settings = dict(add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt", padding=True)
    inputs = processor.apply_chat_template(chats, **settings)
    said = model.generate(**inputs, max_new_tokens=6)[:, inputs["input_ids"].shape[1] :]
    answers += [answer.strip() for answer in processor.batch_decode(said, skip_special_tokens=True)]
print(json.dumps(answers))
"""


def _require_same_exported(model, evaluated, out):
    """The exported model gives the checkpoint's answer to every held-out question."""
    command = [sys.executable, "-P", "-m", "revision_plugin.cli", "export", "--model", model, "--out", out]
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run([sys.executable, "-c", EXPORTED_ANSWERS, out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (samples,) = evaluated.rglob("*_samples_revision_demo.jsonl")
    rows = sorted((json.loads(line) for line in samples.read_text().splitlines()), key=lambda row: row["doc_id"])
    ours = [row["filtered_resps"].strip() for row in rows]
    assert len(ours) > 1000 and json.loads(done.stdout.strip().splitlines()[-1]) == ours


@pytest.mark.slow
@pytest.mark.quickstart
def test_quickstart(tmp_path):
    """The README's first command, whole, and what it must reach."""
    done = subprocess.run(
        ["bash", ROOT / "scripts" / "quickstart.sh", "--out", tmp_path / "q"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    printed = done.stdout + done.stderr
    assert not re.search("warning|deprecat|newly initialized|kernels-community", printed, re.I), printed
    assert "\r" not in printed and "\x1b" not in printed, "nothing is drawn where there is no terminal"
    assert done.stdout.splitlines()[-1] == f"report: {tmp_path / 'q' / 'report' / 'report.md'}"
    assert "6/6 report: done after " in done.stderr
    report = tmp_path / "q" / "report"
    assert {p.name for p in report.iterdir()} == {
        "report.html",
        "report.md",
        "results.json",
        "pca.png",
        "stage1_loss.png",
        "answers.png",
    }
    results = json.loads((report / "results.json").read_text())
    stage1, geometry = results["stage1"], results["geometry"]
    assert geometry["none"]["centroid_gap"] > 0.35 and geometry["realign"]["centroid_gap"] < 0.1
    image = {name: row["image"]["mean"] for name, row in stage1.items()}
    assert image["realign"] - stage1["realign"]["text"]["mean"] < 0.15
    assert image["none"] > image["realign"] + 0.1 and stage1["realign"]["shuffled"]["mean"] > image["realign"] + 0.3
    assert stage1["realign"]["recall"]["object"] > 5 * stage1["realign"]["recall_shuffled"]["object"]
    tuned, without = (results["stage2"][name] for name in ("realign", "without"))
    for kind in ("existence", "position", "content", "color", "count"):
        assert tuned[kind]["low"] > tuned[kind]["chance"], kind
    assert tuned["all"]["low"] > without["all"]["high"]
    views = results["stage2"]["views"]
    assert views["all"]["low"] > tuned["all"]["high"]
    assert all(views[kind]["low"] > tuned[kind]["high"] for kind in ("position", "relation"))
    _require_same_exported(
        tmp_path / "q" / "stage2-realign", tmp_path / "q" / "evaluation-realign", tmp_path / "shared"
    )
    again = subprocess.run(
        ["bash", ROOT / "scripts" / "quickstart.sh", "--out", tmp_path / "q"], capture_output=True, text=True
    )
    assert again.returncode == 2 and "already holds a finished quickstart" in again.stderr
