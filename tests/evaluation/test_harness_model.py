"""What lmms-eval and its tasks ask of a model: own words, stop strings, chat messages, and loading in bits."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import ENVIRONMENT, evaluate_words, run_revision, stage2_flags, train
from PIL import Image

from revision_plugin.demo import corpus, world
from revision_plugin.errors import RevisionError
from revision_plugin.evaluation import mirror, prompts
from revision_plugin.evaluation.batch_size import AUTO_ON_CPU
from revision_plugin.evaluation.chat_model import LlavaRevisionChat, read_messages
from revision_plugin.evaluation.model import LlavaRevision
from revision_plugin.evaluation.placement import number_of_bits, require_device_map

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_bits_and_device_map():
    assert [number_of_bits(*flags) for flags in ((False, False), (True, False), (False, True))] == [None, 4, 8]
    require_device_map(None, "cpu", CPU, 2)
    require_device_map("auto", None, GPU, 1)
    for arguments, line in (
        (("auto", None, CPU, 1), "is answering on cpu"),
        (("cuda:1", None, GPU, 1), "not 'cuda:1'"),
        (("auto", "cuda:0", GPU, 1), "leave one of them out"),
        (("auto", None, GPU, 2), "not for 2"),
    ):
        with pytest.raises(RevisionError, match=line):
            require_device_map(*arguments)


ROWS = {  # of each prompt function: a row, its usual prompt, and the part that stays
    prompts.mme_text: ({"question": "Is it?"}, "Is it?\n" + prompts.WORD),
    prompts.word_text: ({"question": "Is it?"}, "Is it?\n" + prompts.WORD),
    prompts.yes_no_text: ({"question": "Is it?"}, "Is it?\n" + prompts.YES_NO),
    prompts.letter_text: ({"question": "Is it?"}, "Is it?\n" + prompts.LETTER),
    prompts.scienceqa_text: ({"question": "Is it?", "choices": ["a"]}, "Is it?\nA. a\n" + prompts.LETTER),
    prompts.realworldqa_text: ({"question": "Is it?"}, "Is it?"),
    prompts.mmmu_text: ({"question": "Is it?", "options": ["a"]}, "Is it?\nA. a\n\n" + prompts.LETTER),
    prompts.mmmu_pro_vision_text: ({}, prompts.LETTER),
    prompts.crpe_text: ({"text": "Is it?"}, "Is it?\n" + prompts.DIRECTLY),
    prompts.crpe_exist_text: ({"question": "Is it?"}, "Is it?\n" + prompts.DIRECTLY),
    prompts.caption_text: ({}, ""),
    prompts.plain_text: ({"question": "Is it?"}, "Is it?"),
}


@pytest.mark.parametrize("text", ROWS, ids=lambda text: text.__name__)
def test_a_tasks_own_words(text):
    row, usual = ROWS[text]
    instructions = (prompts.WORD, prompts.YES_NO, prompts.LETTER, prompts.DIRECTLY)
    question = usual
    for instruction in instructions:
        question = question.removesuffix(instruction).rstrip("\n")
    assert text(row) == text(row, None) == text(row, {"default": {}}) == usual
    assert text(row, {"pre_prompt": "Look. "}) == "Look. " + usual
    assert text(row, {"post_prompt": "\nBe brief."}) == question + "\nBe brief."
    assert text(row, {"pre_prompt": "", "post_prompt": ""}) == question
    with pytest.raises(RevisionError, match="post_prompt must be a text"):
        text(row, {"post_prompt": 3})


def test_every_prompt_function_is_tried():
    assert set(ROWS) == {value for name, value in vars(prompts).items() if name.endswith("_text") and callable(value)}


class FakeAssistant:
    def __init__(self):
        self.model = SimpleNamespace(dtype="float32")

    def ask(self, images, questions, *, max_new_tokens):
        return [f"{question}: {image.size if image else None}. More" for question, image in zip(questions, images)]


@pytest.fixture
def loaded(monkeypatch):
    """What the host was asked to load."""
    asked = {}

    def load(model, **keywords):
        asked.update(keywords)
        return FakeAssistant()

    monkeypatch.setattr("revision_plugin.evaluation.model.find_host", lambda **_: SimpleNamespace(load=load))
    return asked


def test_the_models_arguments(loaded, tmp_path):
    model = LlavaRevision(pretrained="x", load_in_8bit=True, device="cpu", batch_size="auto", answers=str(tmp_path))
    assert loaded["bits"] == 8 and loaded["device_map"] is None
    LlavaRevision(pretrained="x", device="cpu", answers=str(tmp_path))
    assert loaded["bits"] is None and len(list(tmp_path.iterdir())) == 2  # another model, other answers
    assert model.batch.size == AUTO_ON_CPU
    with pytest.raises(RevisionError, match="not in both"):
        LlavaRevision(pretrained="x", load_in_8bit=True, load_in_4bit="true", device="cpu")
    with pytest.raises(RevisionError, match="answering on cpu"):
        LlavaRevision(pretrained="x", device_map="auto", device="cpu")


def test_replies_end_at_stop_strings_and_are_kept_whole(loaded, tmp_path):
    model = LlavaRevision(pretrained="x", device="cpu", answers=str(tmp_path))
    model.task_dict = {"task": {"test": [{"image": Image.new("RGB", (3, 2))}]}}
    for until, reply in ((["."], "q: (3, 2)"), (None, "q: (3, 2). More"), (":", "q")):
        args = ("q", {"until": until}, lambda doc: [doc["image"]], 0, "task", "test")
        assert model.generate_until([SimpleNamespace(args=args)]) == [reply]
    (file,) = tmp_path.glob("*.jsonl")
    assert {json.loads(line)["answer"] for line in file.read_text().splitlines()} == {"q: (3, 2). More"}


def messages(*parts, role="user"):
    return [{"role": role, "content": [{"type": kind, ("text" if kind == "text" else "url"): v} for kind, v in parts]}]


def test_messages(loaded):
    picture = Image.new("RGB", (3, 2))
    text, images = read_messages(messages(("text", "Before"), ("image", picture), ("text", "after?")), "t")
    assert text == "Before\nafter?" and images == [picture]
    assert read_messages([{"role": "user", "content": "Plain?"}], "t") == ("Plain?", [])
    for wrong, line in (
        (messages(("text", "x"), role="system") + messages(("text", "y")), "t: has turns of system, user"),
        ([], "t: has turns of nobody"),
        (messages(("video", "x.mp4")), "t: has a part of type video"),
        (messages(("image", "x.png")), "t: has a part of type str"),
    ):
        with pytest.raises(RevisionError, match=line):
            read_messages(wrong, "t")
    model = LlavaRevisionChat(pretrained="x", device="cpu")
    model.task_dict = {"task": {"test": [{"images": [picture]}, {"images": [picture, picture]}]}}

    def to_messages(doc):
        return messages(*(("image", image) for image in doc["images"]), ("text", "What?"))

    def request(number):
        return SimpleNamespace(args=("other words", to_messages, {"until": []}, number, "task", "test"))

    assert model.generate_until([request(0)]) == ["What?: (3, 2). More"]
    with pytest.raises(RevisionError, match="task, row 1: has 2 images"):
        model.generate_until([request(1)])


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    scenes = world.sample_scenes(3, seed=5, held_out=True, distinct=True)
    return corpus.write_benchmark(scenes, tmp_path_factory.mktemp("benchmark"), seed=5)


def samples(out):
    """Row number -> what was asked and replied, in the newest run."""
    path = max(out.rglob("*_samples_revision_demo.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    return {row["doc_id"]: (row["input"], row["filtered_resps"]) for row in map(json.loads, path.open())}


def result(out):
    return json.loads(max(out.rglob("*_results.json"), key=lambda path: path.stat().st_mtime_ns).read_text())


def evaluate(model, benchmark, out, *flags, expect=0, cwd="."):
    return run_revision(*evaluate_words(model, benchmark, out), *flags, expect=expect, timeout=600, cwd=cwd)


@pytest.mark.slow
def test_the_chat_class_is_lmms_evals_choice_and_answers_the_same(benchmark, stage2, tmp_path):
    overlays = mirror.write_overlays(mirror.mirrored(["revision_demo"], benchmark), tmp_path / "tasks")
    task = (overlays / "revision_demo.yaml").read_text()
    words = "lmms_eval_specific_kwargs:\n  default:\n    pre_prompt: 'Look. '\n    post_prompt: ' Briefly.'\n"
    (overlays / "revision_demo.yaml").write_text(task + words)
    asked = {}
    for kind, flags in {"chat": (), "simple": ("--force_simple",)}.items():
        command = [
            *(sys.executable, "-m", "revision_plugin.evaluation.lmms", "--model", "llava_revision"),
            *("--model_args", f"pretrained={stage2}", "--tasks", "revision_demo", "--include_path", overlays),
            *("--output_path", tmp_path / kind, "--log_samples", "--device", "cpu", "--batch_size", "4", *flags),
        ]
        environment = {**ENVIRONMENT, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, timeout=600)
        assert list((tmp_path / kind).rglob("*_results.json")), done.stderr[-3000:]
        assert f"({kind})" in result(tmp_path / kind)["config"]["model_backend"]
        asked[kind] = samples(tmp_path / kind)
    assert asked["chat"] == asked["simple"]
    assert all(
        question.startswith("Look. ") and question.endswith("? Briefly.") for question, _ in asked["chat"].values()
    )


@pytest.mark.slow
def test_four_and_eight_bits(benchmark, stage2, world_files, tmp_path):
    pytest.importorskip("bitsandbytes")
    evaluate(stage2, benchmark, tmp_path / "eight", "--limit", 2, "--load-8bit")
    assert json.loads((tmp_path / "eight" / "evaluation.json").read_text())["bits"] == 8
    line = evaluate(stage2, benchmark, tmp_path / "eight", "--limit", 2, expect=2).stderr
    assert "holds a stopped run with another bits" in line
    line = evaluate(stage2, benchmark, tmp_path / "narrow", "--limit", 2, "--load-4bit", expect=2).stderr
    assert "computes in 4 bits where all widths are multiples of 64; 'model.layers.0.self_attn.q_proj' has 32" in line
    train(tmp_path / "wide", wide_llm(tmp_path / "llama"), *stage2_flags(world_files))
    evaluate(tmp_path / "wide", benchmark, tmp_path / "four", "--limit", 2, "--load-4bit")
    assert len(samples(tmp_path / "four")) == 2


def wide_llm(path):
    """A random Llama whose layers are wide enough for 4 bits on a CPU."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from revision_plugin.demo.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    sizes = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
    marks = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=512, **sizes, **marks)
    ).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
