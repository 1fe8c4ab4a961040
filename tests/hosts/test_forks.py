"""docs/forks.md and docs/own-llava.md: a checkout with the plugin registered, launched and loaded as LLaVA's own."""

import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, FLAGS, ROOT, STAGE1, STEPS, projector

PAGE = (ROOT / "docs" / "forks.md").read_text()
LAUNCHES = (ROOT / "docs" / "own-llava.md").read_text()
DIFFS = [ROOT / "patches" / name for name in ("llava.diff", "llava_next.diff")]


@pytest.mark.parametrize("diff", DIFFS, ids=lambda path: path.stem)
def test_the_diff_only_inserts_and_shows_nothing_of_llava(diff):
    lines = diff.read_text().splitlines()
    body = lines[next(i for i, line in enumerate(lines) if line.startswith("--- ")) :]
    assert all(line[:3] in ("---", "+++") or line[0] in "@+" for line in body)
    assert all(line.startswith("@@ -0,0 ") for line in body if line[0] == "@")


@pytest.mark.slow
def test_the_launch_command_after(stores, tiny_llm, tmp_path):
    """The page's diff of a launch: what stays is LLaVA's own, and what comes of it trains."""
    (block,) = re.findall(r"```diff\n(.*?)```", LAUNCHES, re.S)
    before, after = (
        shlex.split(" ".join(line[1:] for line in block.splitlines() if line[0] in f" {sign}")) for sign in "-+"
    )
    common_flags = ["--deepspeed", "scripts/zero2.json", "--version", "plain", "--tune_mm_mlp_adapter", "True"]
    assert before[:2] == ["deepspeed", "llava/train/train_mem.py"] and after[:2] == ["deepspeed", "scripts/train.py"]
    assert before[2:8] == after[2:8] == common_flags
    assert not any(flag.startswith("--revision") for flag in before)
    replacements = {
        "hf:openai/clip-vit-large-patch14-336": "demo",
        "aligner": stores / "realign",
        "texts": stores / "texts",
    }
    flags = [
        replacements.get(word, word) for word in after[4:]
    ]  # on one CPU without DeepSpeed, and with the demo encoder
    done = subprocess.run(
        list(
            map(
                str,
                [
                    sys.executable,
                    after[1],
                    *FLAGS,
                    *flags,
                    "--model_name_or_path",
                    tiny_llm,
                    "--max_steps",
                    STEPS,
                    "--output_dir",
                    tmp_path / "out",
                ],
            )
        ),
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert projector(tmp_path / "out")


@pytest.mark.slow
def test_a_registered_checkout(stores, stage1, stage2, tiny_llm, tmp_path):
    shutil.copytree(
        Path(find_spec("llava").origin).parent, tmp_path / "llava", ignore=shutil.ignore_patterns("__pycache__")
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path)}

    def run(command):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    doctor, apply = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
    assert "holds: llava.model.llava_arch.build_vision_tower" in run(["bash", "-euc", doctor])
    run(["git", "init", "-q"])
    run(["bash", "-euc", apply])
    flags = [
        *FLAGS,
        *STAGE1,
        "--vision_tower",
        "revision",
        "--revision_encoder",
        "demo",
        "--data_path",
        stores / "texts",
        "--revision_aligner",
        stores / "realign",
        "--revision_tokens",
        2,
        "--model_name_or_path",
        tiny_llm,
        "--output_dir",
        tmp_path / "out",
        "--max_steps",
        STEPS,
    ]
    run([sys.executable, "llava/train/train_mem.py", *map(str, flags)])
    weights, reference_weights = projector(tmp_path / "out"), projector(stage1)
    assert all((weights[key] == reference_weights[key]).all() for key in reference_weights), (
        "the launch script's training is scripts/train.py's"
    )
    load = f"""
from llava.model.builder import load_pretrained_model
_, model, processor, _ = load_pretrained_model({str(stage2)!r}, None, "llava-test", device="cpu")
print(type(model.get_vision_tower()).__name__, type(processor).__name__)
"""
    assert "PseudoVisionTower ImageProcessor" in run([sys.executable, "-c", load])
