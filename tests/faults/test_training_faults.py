"""Injects every fault of a training, in this process: the line, the exit status, and what is left."""

import shutil

import pytest
from conftest import ENVIRONMENT, FLAGS, FORKS, ROOT, STAGE1, STEPS, train
from test_faults import contents
from training_faults import TRAINING_FAULTS

SAVING = ("--save_strategy", "steps", "--save_steps", "2")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ground(tmp_path_factory, world_files, tiny_llm, stage1, stores):
    """A folder with all that the trainings need, and two that were stopped: `stopped` on texts, `paired` on images."""
    root = tmp_path_factory.mktemp("ground")
    for name, source in {
        "llm": tiny_llm,
        "stage1": stage1,
        "texts": stores / "texts",
        "realign": stores / "realign",
    }.items():
        shutil.copytree(source, root / name)
    shutil.copytree(stores / "questions", root / "other_texts")
    shutil.copytree(world_files / "images", root / "images")
    for name in ("questions.json", "paired.json"):
        shutil.copy(world_files / name, root / name)
    train(root / "stopped", root / "llm", *SAVING, *flags_of("stopped", root))
    train(root / "paired", root / "llm", *SAVING, *flags_of("stopped paired", root))
    for out in (root / "stopped", root / "paired"):
        for name in ("mm_projector.bin", "mm_projector.safetensors", "config.json"):
            (out / name).unlink()  # as if it had been stopped before its end
    return root


def flags_of(kind, root):
    if kind == "stage2":
        return ("--version", "v1", "--data_path", root / "questions.json", "--image_folder", root / "images")
    if kind == "stopped paired":
        return (*STAGE1, "--data_path", root / "paired.json", "--image_folder", root / "images")
    return (*STAGE1, "--data_path", root / "texts", "--revision_aligner", root / "realign")


@pytest.mark.parametrize("fault", TRAINING_FAULTS, ids=[fault.name for fault in TRAINING_FAULTS])
def test_training_fault(fault, ground, tmp_path, capsys):
    # the same paths as before: a stopped training goes on with the flags that it had
    backup = tmp_path / "backup"
    shutil.copytree(ground, backup, symlinks=True)
    out = {"stopped": ground / "stopped", "stopped paired": ground / "paired"}.get(fault.kind, tmp_path / "out")
    flags = [str(ground / flag[2:]) if flag.startswith("w/") else flag for flag in fault.flags]
    try:
        fault.inject(ground)
        before = contents(ground)
        words = [
            *FLAGS,
            *("--vision_tower", "revision", "--revision_encoder", "demo"),
            *("--model_name_or_path", ground / "llm", "--output_dir", out, "--max_steps", STEPS),
            *(SAVING if fault.kind.startswith("stopped") else ()),
            *flags_of(fault.kind, ground),
            *flags,
        ]
        done = FORKS.run([str(ROOT / "scripts" / "train.py"), *map(str, words)], environment=ENVIRONMENT)
        after = contents(ground)
        lines = done.stderr.replace("\r", "\n").splitlines()
        errors = [line.partition("error: ")[2] for line in lines if "error: " in line]
        assert done.returncode == 2 and len(errors) == 1 and fault.line in errors[0], done.stderr[-3000:]
        assert "Traceback" not in done.stderr
        assert not (out / "mm_projector.bin").exists() and not (out / "model.safetensors").exists()
        record = {ground / "stopped" / "run.json", ground / "paired" / "run.json"}
        assert {p: h for p, h in after.items() if p not in record and p.name != ".lock"} == {
            p: h for p, h in before.items() if p not in record and p.name != ".lock"
        }
        assert not (ground / "ran").exists(), "data ran code"
    finally:
        shutil.rmtree(ground)
        shutil.copytree(backup, ground, symlinks=True)
