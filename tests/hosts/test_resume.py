"""Both stages, killed anywhere and started again, end with the weights of a run that was not; under every launcher."""

import json
import signal
from pathlib import Path

import pytest
import torch
from conftest import ENVIRONMENT, ROOT, projector, stage1_flags, stage2_flags, torchrun
from interruptions import EVERY, STEPS, finish, start, stop_after_checkpoint
from safetensors.torch import load_file
from tiny_families import FAMILIES, write

pytestmark = pytest.mark.slow
FEW_STEPS, FEW_EVERY = (
    60,
    12,
)  # of two processes on one core each, which take long enough to be killed; into an epoch, not the first
DEEPSPEED = {**ENVIRONMENT, "DS_ACCELERATOR": "cpu"}


def stage2_of(world_files):
    return (*stage2_flags(world_files), "--group_by_modality_length", "True")


def losses(out):
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]


def test_stage1_stopped_then_killed(stores, tiny_llm, tmp_path):
    """SIGTERM saves where it is; SIGKILL falls back to the last whole checkpoint, whatever lies beside it."""
    flags = stage1_flags(stores)
    finish(start(tmp_path / "whole", tiny_llm, *flags), tmp_path / "whole")
    out = tmp_path / "cut"
    process = start(out, tiny_llm, *flags)
    first = stop_after_checkpoint(process, out, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    log = Path(f"{out}.log").read_text()
    stopped = int(log.split("error: stopped at step ")[1].split()[0])
    assert stopped >= first and "repeat the command to resume" in log
    assert (out / f"checkpoint-{stopped}" / "revision_complete.json").exists() and not (
        out / "mm_projector.bin"
    ).exists()
    stop_after_checkpoint(start(out, tiny_llm, *flags), out, signal.SIGKILL, after=stopped)
    assert not (out / "mm_projector.bin").exists()
    torn = out / "checkpoint-9999"  # as a kill in the middle of saving leaves it
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"cut')
    # the kill may have left a note, of an older checkpoint that was being deleted
    saving = out / ".revision_saving.json"
    noted = json.loads(saving.read_text()) if saving.exists() else {}
    saving.write_text(json.dumps({**noted, "checkpoint": "checkpoint-9999"}))
    other = start(out, tiny_llm, *flags, "--seed", 7)
    finish(other, out, expect=2)
    assert "holds a stopped run with another --seed (not given, now 7)" in Path(f"{out}.log").read_text()
    finish(start(out, tiny_llm, *flags), out)
    assert "was cut short by a kill" in Path(f"{out}.log").read_text() and not torn.exists()
    resumed_weights, reference_weights = projector(out), projector(tmp_path / "whole")
    assert all(torch.equal(resumed_weights[key], reference_weights[key]) for key in reference_weights)
    copy = load_file(out / "mm_projector.safetensors")
    assert copy.keys() == resumed_weights.keys() and all(
        torch.equal(copy[key], resumed_weights[key]) for key in resumed_weights
    )
    assert losses(out) == losses(tmp_path / "whole")
    record = json.loads((out / "run.json").read_text())
    assert (
        record["command"]["--learning_rate"] == "1e-3"
        and record["resolved"]["training_arguments"]["max_steps"] == STEPS
    )
    assert (
        record["inputs"]["--data_path"] == json.loads((stores / "texts" / "manifest.json").read_text())["content_hash"]
    )
    assert (
        record["versions"]["llava-torch"].startswith("1.2.2")
        and record["resolved"]["model"]["revision"]["encoder"]["fingerprint"]
    )


CASES = {
    "torchrun, stage 2": ("stage 2", None, False),
    "ZeRO-2 under deepspeed, stage 1": ("stage 1", "zero2.json", True),
    "ZeRO-3 under torchrun, stage 2 of a Qwen 3": ("stage 2", "zero3.json", False),
    "ZeRO-2 under torchrun, stage 1 in the host hf": ("stage 1", "zero2.json", False),
    "ZeRO-3 under torchrun, stage 2 in the host hf": ("stage 2", "zero3.json", False),
}


def test_adapters_and_projector_resume(stage1, world_files, tiny_llm, tmp_path):
    """A checkpoint of LoRA holds the adapters alone; the projector, which is trained beside them, goes on too, and so
    do the random numbers of its dropout.
    """
    lora = ("--lora_enable", "True", "--lora_r", 4, "--mm_projector_lr", "1e-2", "--revision_tokens", 2)
    flags = (*stage2_of(world_files), "--pretrain_mm_mlp_adapter", stage1 / "mm_projector.bin", *lora)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish(start(whole, tiny_llm, *flags, steps=40, every=8), whole)
    stop_after_checkpoint(start(cut, tiny_llm, *flags, steps=40, every=8), cut, signal.SIGKILL)
    assert not (cut / "non_lora_trainables.bin").exists()
    finish(start(cut, tiny_llm, *flags, steps=40, every=8), cut)
    for name in ("non_lora_trainables.bin", "adapter_model.safetensors"):
        read = load_file if name.endswith("safetensors") else lambda path: torch.load(path, weights_only=True)
        resumed, reference = read(cut / name), read(whole / name)
        assert all(torch.equal(resumed[key], reference[key]) for key in reference), name


@pytest.mark.parametrize("case", CASES)
def test_two_processes_killed(case, stores, world_files, tiny_llm, tmp_path):
    stage, config, launched_by_deepspeed = CASES[case]
    flags = stage1_flags(stores) if stage == "stage 1" else stage2_of(world_files)
    llm = tiny_llm
    if case.endswith("Qwen 3"):  # whose class is made, and whose prompt is its own
        llm = write(tmp_path / "qwen3", FAMILIES["qwen3"])
        flags = (*flags, "--version", "auto")
    in_transformers = case.endswith("the host hf")
    flags = (*flags, "--host", "hf") if in_transformers else flags
    flags = (*flags, "--deepspeed", ROOT / "scripts" / config) if config else (*flags, "--use_cpu", "True")
    environment = DEEPSPEED if config else ENVIRONMENT

    def launcher():
        if not launched_by_deepspeed:
            return torchrun()
        port = torchrun()[-1]
        return ("deepspeed", "--num_accelerators", "2", "--master_port", port)

    def begin(out):
        return start(out, llm, *flags, launcher=launcher(), environment=environment, steps=FEW_STEPS, every=FEW_EVERY)

    finish(begin(tmp_path / "whole"), tmp_path / "whole")
    out = tmp_path / "cut"
    stop_after_checkpoint(begin(out), out, signal.SIGKILL)
    finish(begin(out), out)
    if config:
        assert "DeepSpeedEngine" not in Path(f"{out}.log").read_text(), "the engine is checked at start-up"
        assert list(out.glob("checkpoint-*/zero_to_fp32.py"))
    if stage == "stage 1" and not in_transformers:
        resumed_weights, reference_weights = projector(out), projector(tmp_path / "whole")
    else:
        resumed_weights, reference_weights = (
            load_file(folder / "model.safetensors") for folder in (out, tmp_path / "whole")
        )
    assert all(torch.equal(resumed_weights[key], reference_weights[key]) for key in reference_weights)
    assert losses(out) == losses(tmp_path / "whole")


@pytest.mark.parametrize("config", ["zero2_offload.json", "zero3_offload.json"])
def test_offload_runs(config, stores, tiny_llm, tmp_path):
    flags = (*stage1_flags(stores), "--deepspeed", ROOT / "scripts" / config)
    out = tmp_path / "out"
    finish(
        start(out, tiny_llm, *flags, launcher=torchrun(processes=1), environment=DEEPSPEED, steps=3, every=EVERY), out
    )
    assert (out / "mm_projector.bin").exists()
