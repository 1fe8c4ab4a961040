"""Both stages through the real LLaVA train(), launched as a user launches them, with tiny models."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import (
    ENVIRONMENT,
    FLAGS,
    FORKS,
    ROOT,
    STAGE1,
    STEPS,
    projector,
    run,
    run_revision,
    stage1_flags,
    torchrun,
    train,
)

from revision_plugin.hosts import launch
from revision_plugin.hosts.command_line import renamed_flags

pytestmark = pytest.mark.slow


def test_stage1_saves_what_llava_saves(stage1, stores):
    weights = projector(stage1)
    assert {k.split("mm_projector.")[1] for k in weights} == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert weights["model.mm_projector.0.weight"].shape == (32, 192)
    config = json.loads((stage1 / "config.json").read_text())
    assert config["mm_vision_tower"] == "revision" and config["mm_hidden_size"] == 192
    record = config["revision"]
    assert record["tokens"] == 2 and record["conversation"] == "plain" and record["encoder"]["spec"] == "demo"
    assert record["aligner"]["hash"] == json.loads((stores / "realign" / "aligner.json").read_text())["parameters_hash"]
    history = json.loads((stage1 / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert len(losses) == STEPS and losses[-1] < losses[0]
    assert "Stage-1" in run_revision("inspect", stage1).stdout


def test_same_command_same_projector(stage1, stores, tiny_llm, tmp_path):
    train(tmp_path / "again", tiny_llm, *stage1_flags(stores), "--revision_tokens", 2)
    again = projector(tmp_path / "again")
    assert all(torch.equal(value, again[key]) for key, value in projector(stage1).items())


def test_finished_run_is_not_overwritten(stage1, stores, tiny_llm):
    before = (stage1 / "mm_projector.bin").read_bytes()
    done = train(stage1, tiny_llm, *STAGE1, "--data_path", stores / "texts", expect=2)
    assert "already holds a finished run (mm_projector.bin)" in done.stderr
    assert (stage1 / "mm_projector.bin").read_bytes() == before


def test_stage2_trains_the_language_model_and_asks_alike(stage2, tiny_llm, world_files):
    """`revision ask` and LLaVA's own loader give the same answers; neither needs a store."""
    from safetensors.torch import load_file

    weights = load_file(stage2 / "model.safetensors")
    base = load_file(tiny_llm / "model.safetensors")
    assert not torch.equal(weights["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"])
    assert not [k for k in weights if "vision_tower" in k], "the encoder is not copied into checkpoints"
    images = sorted((world_files / "images").iterdir())[:3]
    questions = ["what color is the background?", "how many objects are there?"]
    flags = [word for path in images for word in ("--image", path)]
    done = run_revision("ask", "--model", stage2, *flags, "--json", *questions, "--max-new-tokens", 5)
    answer_rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["image"], row["question"]) for row in answer_rows] == [(str(p), q) for p in images for q in questions]
    script = f"""
import json, torch, revision_plugin
revision_plugin.install()
from PIL import Image
from llava.constants import IMAGE_TOKEN_INDEX
from llava.conversation import conv_templates
from llava.mm_utils import process_images, tokenizer_image_token
from llava.model.builder import load_pretrained_model
tokenizer, model, processor, _ = load_pretrained_model({str(stage2)!r}, None, "llava-test", device="cpu")
model = model.float()
for path in {[str(p) for p in images]!r}:
    for question in {questions!r}:
        prompt = conv_templates["v1"].copy()
        prompt.append_message(prompt.roles[0], "<image>\\n" + question)
        prompt.append_message(prompt.roles[1], None)
        ids = tokenizer_image_token(prompt.get_prompt(), tokenizer, IMAGE_TOKEN_INDEX, return_tensors="pt")[None]
        pixels = process_images([Image.open(path).convert("RGB")], processor, model.config)
        out = model.generate(ids, images=pixels, do_sample=False, max_new_tokens=5)
        print("ANSWER", json.dumps(tokenizer.batch_decode(out, skip_special_tokens=True)[0].strip()))
"""
    llava_run = FORKS.run(["-c", script], environment=ENVIRONMENT)
    answers = [json.loads(line[7:]) for line in llava_run.stdout.splitlines() if line.startswith("ANSWER")]
    assert len(answers) == 6, llava_run.stderr[-2000:]
    assert [row["answer"] for row in answer_rows] == answers
    piped = run_revision(
        "ask", "--model", stage2, *flags, "--stdin", "--json", "--max-new-tokens", 5, input="\n".join(questions)
    )
    assert piped.stdout == done.stdout


def test_stage1_checkpoint_captions_with_its_base(stage1, tiny_llm, world_files):
    image = world_files / "images" / "00000.png"
    done = run_revision("ask", "--model", stage1, "--base", tiny_llm, "--image", image)
    assert done.stdout.strip()
    assert (
        "give its language model with --base"
        in run_revision("ask", "--model", stage1, "--image", image, expect=2).stderr
    )
    refusal = run_revision("ask", "--model", stage1, "--base", tiny_llm, "--image", image, "is there a dog?", expect=2)
    assert "ask no question" in refusal.stderr


def test_stage1_on_paired_images_and_stage2_on_text_alone(stores, world_files, tiny_llm, tmp_path):
    """Through the launch scripts: the paired upper bound, then fully text-only instruction tuning."""
    settings = dict(
        ENCODER="demo",
        MODEL=tiny_llm,
        LAUNCHER=sys.executable,
        DEEPSPEED="",
        GPUS=1,
        BATCH_PER_GPU=4,
        GLOBAL_BATCH=8,
        PRECISION="",
    )
    steps = ["--max_steps", "2", "--dataloader_num_workers", "0"]

    def script(name, *flags, **values):
        environment = {**ENVIRONMENT, **{k: str(v) for k, v in {**settings, **values}.items()}}
        done = subprocess.run(
            ["bash", ROOT / "scripts" / name, *flags], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr[-3000:]

    script(
        "pretrain.sh",
        "--image_folder",
        world_files / "images",
        *steps,
        DATA=world_files / "paired.json",
        OUT=tmp_path / "paired",
    )
    script(
        "finetune.sh",
        *steps,
        DATA=stores / "questions",
        ALIGNER=stores / "realign",
        OUT=tmp_path / "text-only",
        PROJECTOR=tmp_path / "paired" / "mm_projector.bin",
        VERSION="v1",
    )
    assert (
        json.loads((tmp_path / "text-only" / "config.json").read_text())["revision"]["aligner"]["method"] == "realign"
    )
    run_revision(
        "ask", "--model", tmp_path / "text-only", "--image", world_files / "images" / "00000.png", "is there a dog?"
    )


def test_two_processes(stores, tiny_llm, tmp_path):
    launcher = torchrun()
    done = train(
        tmp_path / "two",
        tiny_llm,
        *STAGE1,
        "--data_path",
        stores / "texts",
        "--revision_aligner",
        stores / "realign",
        "--use_cpu",
        "True",
        launcher=launcher,
    )
    state = json.loads((tmp_path / "two" / "trainer_state.json").read_text())
    # 60 rows, 2 processes of 4 rows a step: an epoch is 8 steps where one process would take 15
    assert state["epoch"] == pytest.approx(STEPS / 8), done.stderr[-1000:]
    assert projector(tmp_path / "two")["model.mm_projector.0.weight"].abs().sum() > 0


def test_c3_trains_with_noise(stores, tiny_llm, tmp_path):
    """The same command with mean_shift, which is C3 without its noise, ends in another projector."""
    weights = {}
    for method, flags in (("mean_shift", []), ("c3", ["--option", "sigma=0.5"])):
        aligner = tmp_path / method
        fit = ("fit", "--source", stores / "texts", "--target", stores / "images", "--method", method, "--out", aligner)
        run(*fit, *flags)
        train(
            tmp_path / f"run-{method}",
            tiny_llm,
            *STAGE1,
            "--data_path",
            stores / "texts",
            "--revision_aligner",
            aligner,
        )
        weights[method] = projector(tmp_path / f"run-{method}")["model.mm_projector.0.weight"]
    assert (weights["c3"] - weights["mean_shift"]).abs().max() > 1e-4


# LLaVA without the plugin's tower, data or resuming: only what it needs to run on today's libraries
PLAIN_LLAVA = """
from revision_plugin.hosts.llava.hook_table import HOOKS, MODELS, PROCESSES
HOOKS.apply_before()
import llava.train.train
from llava.train.llava_trainer import LLaVATrainer
from transformers import PreTrainedTokenizerBase, set_seed
HOOKS._apply([*PROCESSES, *MODELS])
init, sampler = LLaVATrainer.__init__, LLaVATrainer._get_train_sampler
LLaVATrainer.__init__ = lambda self, *a, tokenizer, **k: init(self, *a, processing_class=tokenizer, **k)
LLaVATrainer._get_train_sampler = lambda self, dataset=None: sampler(self)
PreTrainedTokenizerBase.legacy = True
set_seed(42)
llava.train.train.train()
"""


def test_a_clip_name_gives_plain_llava(world_files, tiny_clip, tiny_llm, tmp_path):
    """The same script with a CLIP tower trains bitwise what LLaVA alone trains."""
    flags = [
        "--data_path",
        world_files / "paired.json",
        "--image_folder",
        world_files / "images",
        "--mm_vision_select_layer",
        "-2",
    ]
    tower = ("--vision_tower", str(tiny_clip))
    train(tmp_path / "plugin", tiny_llm, *STAGE1, *flags, tower=tower)
    llava_script = tmp_path / "alone.py"
    llava_script.write_text(PLAIN_LLAVA)
    renamed = renamed_flags(FLAGS)
    command = [
        sys.executable,
        llava_script,
        *renamed,
        *tower,
        "--model_name_or_path",
        tiny_llm,
        "--output_dir",
        tmp_path / "alone",
        "--max_steps",
        STEPS,
        *STAGE1,
        *flags,
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-2000:]
    plugin_weights, llava_weights = projector(tmp_path / "plugin"), projector(tmp_path / "alone")
    assert plugin_weights.keys() == llava_weights.keys() and all(
        torch.equal(plugin_weights[k], llava_weights[k]) for k in llava_weights
    )
    assert "revision" not in json.loads((tmp_path / "plugin" / "config.json").read_text())


@pytest.mark.parametrize(
    "flags, message",
    [
        ((), "needs --revision_encoder SPEC"),
        (("--revision_encoder", "demo", "--revision_aligner", "none-such"), "no aligner.json"),
        (("--revision_encoder", "demo"), "without an aligner; give --revision_aligner"),
        (("--revision_encoder", "demo", "--pretrain_mm_mlp_adapter", "none-such.bin"), "no such projector"),
        (
            ("--revision_encoder", "OPEN_CLIP", "--revision_aligner", "REALIGN"),
            "the aligner was fitted for another encoder ('demo' and ",
        ),
    ],
)
def test_bad_flags_end_in_one_line(stores, tiny_llm, tiny_open_clip, tmp_path, flags, message, capsys):
    names = {"OPEN_CLIP": f"open_clip:{tiny_open_clip}", "REALIGN": stores / "realign"}
    flags = [names.get(flag, flag) for flag in flags]
    command = [
        *FLAGS,
        *STAGE1,
        "--vision_tower",
        "revision",
        "--model_name_or_path",
        tiny_llm,
        "--output_dir",
        tmp_path / "out",
        "--data_path",
        stores / "texts",
        "--max_steps",
        STEPS,
        "--use_cpu",
        "True",
        *flags,
    ]
    with pytest.raises(SystemExit) as end:
        launch.main([*map(str, command)])
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert printed.count("error: ") == 1 and message in printed.partition("error: ")[2].splitlines()[0]
    assert not (tmp_path / "out" / "mm_projector.bin").exists()
