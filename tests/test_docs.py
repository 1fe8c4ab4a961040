"""The commands of pages, the snippets of the Python API page and the notebook run as they stand."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from conftest import ENVIRONMENT, ON_A_CPU, ROOT, stage1_flags, train

PAGE = ROOT / "docs" / "python-api.md"
NOTEBOOK = ROOT / "docs" / "realign.ipynb"


def test_the_python_api_pages_snippets_in_order(world_files, tmp_path, monkeypatch, capsys):
    shutil.copy(world_files / "texts.json", tmp_path)
    shutil.copytree(world_files / "images", tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(snippets) > 5
    names = {}
    for snippet in snippets:
        exec(compile(snippet, PAGE.name, "exec"), names)
    assert "fitted on 500 source and 400 target rows" in capsys.readouterr().out


def test_the_readmes_snippet(rng):
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    names = {"text_embeddings": rng.normal(size=(40, 8)), "image_embeddings": rng.normal(size=(40, 8))}
    exec(snippet, names)
    assert names["aligned"].shape == (40, 8)


def test_the_notebook_runs_and_prints_what_it_shows(capsys):
    matplotlib.use("Agg")
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    names, shown = {}, []
    for cell in cells:
        exec("".join(cell["source"]), names)
        printed = capsys.readouterr().out
        shown.append("".join(line for out in cell["outputs"] if out["output_type"] == "stream" for line in out["text"]))
        numbers = [[float(word) for word in re.findall(r"\d+\.\d+", text)] for text in (printed, shown[-1])]
        assert numbers[0] == pytest.approx(numbers[1], abs=2e-3), "run the notebook again and keep its output"
    held_out = {line.split()[0]: [float(word) for word in line.split()[1:]] for line in shown[3].splitlines()[1:]}
    assert held_out["realign"][0] < 0.05 < 0.35 < held_out["none"][0], "the gap, on scenes that no fit has seen"
    assert held_out["realign"][2] > held_out["none"][2], "and the cosine of a caption with its picture"
    assert names["figure"].axes[1].get_title() == "ReAlign"
    captions = {
        name: names["share_of_captions"](names[rows]) for name, rows in (("raw", "unseen_texts"), ("ReAlign", "after"))
    }
    assert abs(captions["ReAlign"] - 0.5) < abs(captions["raw"] - 0.5)


def test_the_language_models_pages_commands():
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "language-models.md").read_text(), re.S)
    assert len(blocks) == 2
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)], capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "all probes hold" in done.stdout and done.stdout.count("Qwen/Qwen3-8B") == 2


@pytest.mark.slow
def test_the_views_pages_commands(world_files, stage1, tiny_llm, tmp_path):
    """In the page's order, after the README's Stage 1 of one vector a text."""
    shutil.copytree(world_files / "images", tmp_path / "pictures")
    shutil.copy(world_files / "texts.json", tmp_path / "texts.json")
    shutil.copy(world_files / "questions.json", tmp_path / "instructions.json")
    shutil.copytree(stage1, tmp_path / "pretrain")
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "views.md").read_text(), re.S)
    assert len(blocks) == 3
    environment = {**ENVIRONMENT, **ON_A_CPU, "ENCODER": "demo", "LLM": str(tiny_llm), "VERSION": "v1"}
    typed = ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)]
    done = subprocess.run(typed, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("llava-views", "llava-stored", "pretrain-views"):
        record = json.loads((tmp_path / name / "config.json").read_text())["revision"]
        assert record["views"] == "2x2:mask"
    assert "part_aligner" in record


@pytest.mark.slow
def test_the_export_pages_commands(stage2, tmp_path):
    """The folder is written and opened as the page says; lmms-eval's command runs in test_own_harness_class.py."""
    text = (ROOT / "docs" / "export.md").read_text()
    command, harness = re.findall(r"```bash\n(.*?)```", text, re.S)
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert "--model llava_hf --model_args pretrained=shared-model,trust_remote_code=True" in harness
    (tmp_path / "llava-revision").symlink_to(stage2)
    typed = ["bash", "-euo", "pipefail", "-c", f"{command}\npython -P snippet.py"]
    (tmp_path / "snippet.py").write_text(f"{snippet}\nprint(type(model).__name__, type(processor).__name__)\n")
    environment = {**ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{os.defpath}"}
    done = subprocess.run(typed, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "LlavaForConditionalGeneration LlavaProcessor" in done.stdout


@pytest.mark.slow
def test_the_hf_hosts_pages_commands(stores, world_files, tiny_llm, tmp_path):
    """Both stages with the launch scripts, in transformers alone."""
    shutil.copytree(stores / "texts", tmp_path / "texts")
    shutil.copytree(stores / "realign", tmp_path / "aligner")
    shutil.copytree(world_files / "images", tmp_path / "pictures")
    shutil.copy(world_files / "questions.json", tmp_path / "instructions.json")
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (block,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "hf-host.md").read_text(), re.S)
    environment = {**ENVIRONMENT, **ON_A_CPU, "ENCODER": "demo", "LLM": str(tiny_llm), "VERSION": "v1"}
    typed = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(typed, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("pretrain", "llava-revision"):
        assert (tmp_path / name / "modeling_revision.py").is_file() and (tmp_path / name / "run.json").is_file()


def test_the_aniso_pages_command(stores, tmp_path):
    (block,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "aniso.md").read_text(), re.S)
    for name in ("texts", "images"):
        (tmp_path / name).symlink_to(stores / name)
    environment = {**ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{os.defpath}"}
    typed = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(typed, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "the prior's loss" in done.stdout


def test_the_choosing_pages_commands(stores, tmp_path):
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "choosing.md").read_text(), re.S)
    for name in ("texts", "images"):
        (tmp_path / name).symlink_to(stores / name)
    environment = {**ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{os.defpath}"}
    typed = ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)]
    done = subprocess.run(typed, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("chosen: ") == 2 and "| candidate |" in done.stdout
    assert all((tmp_path / name / "aligner.json").is_file() for name in ("aligner", "other", "third"))


@pytest.mark.slow
def test_the_projected_gap_pages_command(stores, tiny_llm, tmp_path):
    """After a Stage 1 that left checkpoints, whose folder the page calls `pretrain`."""
    (block,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "projected-gap.md").read_text(), re.S)
    train(tmp_path / "pretrain", tiny_llm, *stage1_flags(stores), "--save_strategy", "steps", "--save_steps", 2)
    for name in ("texts", "images"):
        (tmp_path / name).symlink_to(stores / name)
    environment = {**ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{os.defpath}"}
    typed = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(typed, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert rows == ["pretrain/checkpoint-2", "pretrain/checkpoint-4", "pretrain", "report", "page"]
    assert (tmp_path / "projected" / "over_steps.png").is_file()
