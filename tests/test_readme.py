"""Every command of the README runs, in its order, on tiny data."""

import json
import re
import shutil
import subprocess
import sys

import benchmark_data
import pytest
from conftest import ENVIRONMENT, ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.S)


def test_the_blocks_are_the_ones_these_tests_run():
    assert len(BLOCKS) == 5
    assert BLOCKS[0].split("#")[0].strip() == "bash scripts/quickstart.sh"
    assert "bash scripts/test.sh " in BLOCKS[0]
    assert "bash scripts/test.sh" in (ROOT / ".ci" / "run").read_text(), "CI runs the README's test command"


@pytest.mark.slow
def test_custom_data_in_five_commands(world_files, tiny_llm, tmp_path):
    shutil.copytree(world_files / "images", tmp_path / "pictures")
    shutil.copy(world_files / "texts.json", tmp_path / "texts.json")
    shutil.copy(world_files / "questions.json", tmp_path / "instructions.json")
    for folder in ("scripts", "eval_tasks"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    benchmark_data.write_all(tmp_path)  # lmms-eval takes OWNER/NAME in the working directory for the hub's
    environment = {
        **ENVIRONMENT,
        "ENCODER": "demo",
        "LLM": str(tiny_llm),
        "LAUNCHER": sys.executable,
        "DEEPSPEED": "",
        "GPUS": "1",
        "PRECISION": "",
        "BATCH_PER_GPU": "4",
        "GLOBAL_BATCH": "8",
        "VERSION": "v1",
        "TASKS": "revision_pope",
        "HF_DATASETS_OFFLINE": "1",
    }
    for block in BLOCKS[1:]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}\n{done.stderr[-3000:]}"
        assert done.stdout.strip(), "every block prints what it did"
    assert "| mine | - |" in done.stdout and "ReVision (published)" in done.stdout
    (raw,) = (tmp_path / "results" / "raw").rglob("*_results.json")
    (mine_results,) = (tmp_path / "results" / "mine").rglob("*_results.json")
    scores = [json.loads(path.read_text())["results"]["revision_pope"]["acc,none"] for path in (raw, mine_results)]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_quickstart(tmp_path):
    """The README's first command, whole, and what it must reach."""
    done = subprocess.run(
        ["bash", ROOT / "scripts" / "quickstart.sh", "--out", tmp_path / "q"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = tmp_path / "q" / "report"
    assert {p.name for p in report.iterdir()} == {
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
    again = subprocess.run(
        ["bash", ROOT / "scripts" / "quickstart.sh", "--out", tmp_path / "q"], capture_output=True, text=True
    )
    assert again.returncode == 2 and "already holds a finished quickstart" in again.stderr
