"""The host `hf`: LLaVA's losses, token ids and labels without LLaVA, and a folder that transformers opens by itself."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_families as families
import torch
from conftest import (
    ENVIRONMENT,
    FLAGS,
    ROOT,
    STAGE1,
    image_flags,
    projector,
    refuse,
    run,
    run_revision,
    stage1_flags,
    stage2_flags,
    train,
)
from interruptions import finish, start, stop_after_checkpoint
from PIL import Image
from safetensors.torch import load_file, save_file

from revision_plugin.errors import RevisionError
from revision_plugin.hosts import find_host, launch
from revision_plugin.testing import check_host

DEMO_LLM = ROOT / "revision_plugin" / "demo" / "assets" / "llm"
HF = ("--host", "hf")
TALK = [
    {"from": "human", "value": "<image>\nwhat color is the background?"},
    {"from": "gpt", "value": "red"},
    {"from": "human", "value": "is there a dog?"},
    {"from": "gpt", "value": "no there is a cat on the left"},
]


def losses(out):
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def weights(folder):
    """A folder's weights by the names in the model; transformers' file calls the language model's otherwise."""
    named = load_file(folder / "model.safetensors").items()
    return {name.replace("language_model.model.", "language_model."): value for name, value in named}


def both(root, llm, *flags, steps):
    """The same training in both hosts: the folder of hf, and LLaVA's; their losses must agree."""
    for host in ("hf", "llava"):
        train(root / host, llm, *flags, "--host", host, "--max_steps", steps)
    ours, theirs = losses(root / "hf"), losses(root / "llava")
    assert len(ours) == len(theirs) == steps
    assert max(abs(one - other) for one, other in zip(ours, theirs)) < 1e-4
    return root / "hf", root / "llava"


@pytest.fixture(scope="module")
def captions(stores, tmp_path_factory):
    """Stage 1 of the demo language model in both hosts."""
    return both(tmp_path_factory.mktemp("captions"), DEMO_LLM, *stage1_flags(stores), steps=50)


@pytest.fixture(scope="module")
def answers(captions, world_files, tmp_path_factory):
    """Stage 2 in both hosts, from LLaVA's projector, in batches of like lengths."""
    flags = (*stage2_flags(world_files), "--pretrain_mm_mlp_adapter", captions[1] / "mm_projector.bin")
    root = tmp_path_factory.mktemp("answers")
    return both(root, DEMO_LLM, *flags, "--group_by_modality_length", "True", steps=50)


@pytest.mark.slow
def test_stage1_is_llavas(captions):
    """The losses of 50 steps agree (`both`), and so does the projector; the language model is whole and unchanged."""
    ours, theirs = weights(captions[0]), projector(captions[1])
    for index, layer in ((0, 1), (2, 2)):
        for part in ("weight", "bias"):
            mine = ours[f"model.multi_modal_projector.linear_{layer}.{part}"]
            torch.testing.assert_close(mine, theirs[f"model.mm_projector.{index}.{part}"], atol=1e-4, rtol=0)
    base = load_file(DEMO_LLM / "model.safetensors")
    for name, value in base.items():
        mine = ours[name.replace("model.", "model.language_model.", 1)]
        assert torch.equal(mine[: len(value)], value), name
    record = json.loads((captions[0] / "config.json").read_text())["revision"]
    assert record == json.loads((captions[1] / "config.json").read_text())["revision"]
    assert json.loads((captions[0] / "run.json").read_text())["command"]["--version"] == "plain"


@pytest.mark.slow
def test_stage2_answers_as_llava_and_as_transformers_alone(answers, world_files):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    picture = world_files / "images" / "00003.png"
    questions = ["what color is the background?", "how many objects are there?"]
    said = [run_revision("ask", "--model", each, "--image", picture, *questions).stdout for each in answers]
    assert said[0] == said[1] and said[0].count(str(picture)) == 2
    code = dict(trust_remote_code=True)
    model = AutoModelForImageTextToText.from_pretrained(answers[0], **code).eval()
    processor = AutoProcessor.from_pretrained(answers[0], **code)
    for line, question in zip(said[0].splitlines(), questions):
        turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
        text = processor.apply_chat_template(turns, add_generation_prompt=True)
        inputs = processor(images=Image.open(picture).convert("RGB"), text=text, return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1] :]
        assert line.endswith(f"{question} {processor.decode(output, skip_special_tokens=True).strip()}")


@pytest.mark.slow
def test_the_assistant_measures_as_llavas(captions, stores):
    """A caption's likelihood given its text's embedding, with an aligner, and given pixels."""
    from revision_plugin.aligners import load_aligner
    from revision_plugin.embeddings.store import Store

    store = Store.open(stores / "texts")
    texts = [store.row(index)["text"] for index in range(4)]
    embeddings = torch.from_numpy(store.span(0, 4).copy())
    found = []
    for folder, base in ((captions[0], None), (captions[1], str(DEMO_LLM))):
        assistant = find_host(model=folder).load(str(folder), base=base)
        assistant.tower.use_aligner(load_aligner(stores / "realign"))
        pixels = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        found.append([*assistant.likelihood(embeddings, texts), *assistant.likelihood(pixels, texts)])
    assert found[0] == pytest.approx(found[1], abs=1e-4)


@pytest.mark.slow
def test_adapters_are_merged(captions, world_files, tmp_path):
    flags = (*stage2_flags(world_files), "--pretrain_mm_mlp_adapter", captions[1] / "mm_projector.bin")
    lora = ("--lora_enable", "True", "--lora_r", 4, "--lora_alpha", 8, "--mm_projector_lr", "1e-2")
    ours, theirs = both(tmp_path, DEMO_LLM, *flags, *lora, steps=12)
    merged, adapters = weights(ours), load_file(theirs / "adapter_model.safetensors")
    base = load_file(DEMO_LLM / "model.safetensors")
    name = "layers.1.self_attn.q_proj"
    low, high = (adapters[f"base_model.model.model.{name}.lora_{each}.weight"] for each in "AB")
    assert (high @ low).abs().max() > 1e-4
    expected = base[f"model.{name}.weight"] + 8 / 4 * high @ low
    torch.testing.assert_close(merged[f"model.language_model.{name}.weight"], expected, atol=1e-4, rtol=0)
    assert not any("lora" in each for each in merged)
    rest = torch.load(theirs / "non_lora_trainables.bin", weights_only=True)
    ends = [value for key, value in rest.items() if key.endswith("mm_projector.2.weight")]
    torch.testing.assert_close(merged["model.multi_modal_projector.linear_2.weight"], ends[0], atol=1e-4, rtol=0)


@pytest.mark.slow
def test_mixed_batches(stores, world_files, tiny_llm, tmp_path):
    """Images, embeddings of texts by their ids, and records without either, in one batch."""
    pictured = json.loads((world_files / "questions.json").read_text())[:12]
    asked = json.loads((world_files / "text_questions.json").read_text())[12:24]
    mixed = tmp_path / "mixed.json"
    mixed.write_text(json.dumps([each for pair in zip(pictured, asked) for each in pair]))
    joined = ("--revision_store", stores / "questions", "--revision_aligner", stores / "realign")
    flags = ("--version", "v1", "--data_path", mixed, "--image_folder", world_files / "images")
    both(tmp_path / "joined", tiny_llm, *flags, *joined, steps=6)
    bare = [{**each, "conversations": [{**turn} for turn in each["conversations"]]} for each in asked]
    for each in bare:
        each["conversations"][0]["value"] = each["conversations"][0]["value"].replace("<image>\n", "")
    mixed.write_text(json.dumps([*pictured[:4], *bare]))  # so that some batches hold no image
    (tmp_path / "wide").mkdir()
    for index, record in enumerate(pictured[:4]):
        size = (90, 50) if index % 2 else (40, 70)
        Image.open(world_files / "images" / record["image"]).resize(size).save(tmp_path / "wide" / record["image"])
    padded = ("--image_folder", tmp_path / "wide", "--image_aspect_ratio", "pad")
    ours, _ = both(tmp_path / "bare", tiny_llm, *flags, *padded, steps=6)
    assert json.loads((ours / "preprocessor_config.json").read_text())["square"]


@pytest.mark.slow
def test_views(world_files, tiny_llm, tmp_path):
    """Texts with their parts, then images as five views each, with a store of them and without."""
    texts, images = ("--texts", world_files / "texts.json"), ("--images", world_files / "images")
    run("encode", "--encoder", "demo", *texts, "--views", "clauses", "--out", tmp_path / "texts")
    run("encode", "--encoder", "demo", *images, "--views", "2x2", "--out", tmp_path / "images")
    for view in ("whole", "parts"):
        run(
            "fit",
            "--source",
            tmp_path / "texts",
            "--target",
            tmp_path / "images",
            "--view",
            view,
            "--out",
            tmp_path / view,
        )
    views = ("--revision_views", "2x2:mask")
    aligners = ("--revision_aligner", tmp_path / "whole", "--revision_part_aligner", tmp_path / "parts")
    first = (*STAGE1, "--data_path", tmp_path / "texts", *aligners, *views, "--revision_whole_share", 0.3)
    ours, theirs = both(tmp_path / "first", tiny_llm, *first, steps=5)
    stored = ("--revision_image_store", tmp_path / "images", "--pretrain_mm_mlp_adapter", theirs / "mm_projector.bin")
    both(tmp_path / "stored", tiny_llm, *stage2_flags(world_files), *views, *stored, steps=3)
    train(tmp_path / "on", ours, *HF, *stage2_flags(world_files), "--max_steps", 2)  # goes on from the folder
    record = json.loads((tmp_path / "on" / "config.json").read_text())["revision"]
    assert record["views"] == "2x2:mask" and record["conversation"] == "v1"
    picture = world_files / "images" / "00000.png"
    assert run_revision("ask", "--model", tmp_path / "on", "--image", picture, "is there a dog?").stdout


@pytest.mark.slow
@pytest.mark.parametrize("name, kind", [("qwen3", "mlp2x_gelu"), ("granite", "linear"), ("gemma3", "mlp2x_gelu")])
def test_other_families(name, kind, stores, world_files, tmp_path):
    """Stage 1, then Stage 2 from the folder alone in the language model's own prompt."""
    llm = families.write(tmp_path / "llm", families.FAMILIES[name])
    projector_type = ("--mm_projector_type", kind)
    ours, theirs = both(tmp_path / "first", llm, *stage1_flags(stores), *projector_type, steps=4)
    tuned = ("--version", "auto", *image_flags(world_files), *projector_type, "--max_steps", 4)
    train(tmp_path / "on", ours, *HF, *tuned)
    train(tmp_path / "llava", llm, *tuned, "--pretrain_mm_mlp_adapter", theirs / "mm_projector.bin")
    assert losses(tmp_path / "on") == pytest.approx(losses(tmp_path / "llava"), abs=1e-3)


@pytest.mark.slow
def test_killed_and_repeated_it_ends_the_same(stores, tiny_llm, tmp_path):
    flags = (*stage1_flags(stores), *HF)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish(start(whole, tiny_llm, *flags, steps=120, every=8), whole)
    stop_after_checkpoint(start(cut, tiny_llm, *flags, steps=120, every=8), cut, signal.SIGKILL)
    assert not (cut / "model.safetensors").exists()
    for others in ((*flags, "--seed", 7), stage1_flags(stores)):
        finish(start(cut, tiny_llm, *others, steps=120, every=8), cut, expect=2)
    log = Path(f"{cut}.log").read_text()
    assert "another --seed (not given, now 7)" in log and "another host (hf, now a LLaVA)" in log
    stop_after_checkpoint(start(cut, tiny_llm, *flags, steps=120, every=8), cut, signal.SIGTERM, after=8)
    finish(start(cut, tiny_llm, *flags, steps=120, every=8), cut)
    resumed, reference = weights(cut), weights(whole)
    assert all(torch.equal(resumed[name], reference[name]) for name in reference)
    assert losses(cut) == losses(whole)
    last = max(cut.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    kept = load_file(last / "trained.safetensors")
    assert len(kept) == 4 and all("multi_modal_projector" in name for name in kept), "the frozen model is in none"
    finish(start(cut, tiny_llm, *flags, steps=120, every=8), cut, expect=2)


WITHOUT_LLAVA = """
import sys
sys.modules["llava"] = None
from revision_plugin.hosts.launch import main
main(sys.argv[1:])
assert not [name for name in sys.modules if name.startswith("llava.")]
"""


@pytest.mark.slow
def test_no_llava_is_needed(stores, tiny_llm, tmp_path):
    command = [sys.executable, "-c", WITHOUT_LLAVA, *HF, *FLAGS, *stage1_flags(stores), "--max_steps", 2]
    command += ["--vision_tower", "revision", "--revision_encoder", "demo", "--model_name_or_path", tiny_llm]
    command += ["--output_dir", tmp_path / "out", "--gradient_checkpointing", "True"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.slow
def test_an_encoder_of_transformers(world_files, tiny_clip, tiny_llm, tmp_path, capsys):
    """On paired images; its preprocessing is a class of transformers whose name the folder gives, and no other one."""
    flags = (*STAGE1, "--data_path", world_files / "paired.json", "--image_folder", world_files / "images")
    tower = ("--vision_tower", "revision", "--revision_encoder", f"hf:{tiny_clip}")
    train(tmp_path / "out", tiny_llm, *HF, *flags, "--max_steps", 2, tower=tower)
    shutil.move(tiny_clip, tmp_path / "moved")  # the folder is whole without it
    try:
        asked = ("ask", "--model", tmp_path / "out", "--image", world_files / "images" / "00000.png")
        run(*asked)
        file = tmp_path / "out" / "preprocessor_config.json"
        settings = json.loads(before := file.read_text())
        settings["encoder_processor"]["image_processor_type"] = "pipeline"
        file.write_text(json.dumps(settings))
        assert "'pipeline' is no image processor of transformers" in refuse(capsys, *asked)
        file.write_text(before)
        tensors = load_file(tmp_path / "out" / "model.safetensors")
        tensors["model.vision_tower.encoder.visual_projection.weight"][0, 0] = torch.nan
        save_file(tensors, tmp_path / "out" / "model.safetensors", metadata={"format": "pt"})
        assert "visual_projection.weight' are not finite" in refuse(capsys, *asked)
    finally:
        shutil.move(tmp_path / "moved", tiny_clip)


@pytest.mark.parametrize("batch, shares", [(4, 1), (2, 3), (3, 4)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_order_of_like_lengths_is_llavas(batch, shares, sign, rng):
    find_host("llava").install()
    from llava.train.llava_trainer import get_modality_length_grouped_indices

    from revision_plugin.hosts.hf.batch_order import ModalityGroups

    lengths = [sign * int(each) for each in rng.integers(1, 9, 50)]
    ours = ModalityGroups(lengths, batch, shares, seed=5)
    orders = []
    for epoch in range(2):
        ours.set_epoch(epoch)
        generator = torch.Generator().manual_seed(5 + epoch)
        orders.append(list(ours))
        assert orders[-1] == get_modality_length_grouped_indices(lengths, batch, shares, generator=generator)
    assert orders[0] != orders[1]


def test_examples_with_and_without_images_are_kept_apart(rng):
    from revision_plugin.hosts.hf.batch_order import ModalityGroups

    lengths = [int(each) * (-1 if index % 3 else 1) for index, each in enumerate(rng.integers(1, 9, 90))]
    order = list(ModalityGroups(lengths, 4, 2, seed=1))
    assert sorted(order) == list(range(90)) and order == list(ModalityGroups(lengths, 4, 2, seed=1))
    steps = [{lengths[index] > 0 for index in order[start : start + 8]} for start in range(0, 72, 8)]
    assert all(len(kinds) == 1 for kinds in steps) and {True} in steps and {False} in steps


@pytest.fixture
def template():
    import llava.conversation as conversation

    before = conversation.default_conversation

    def choose(name):
        conversation.default_conversation = conversation.conv_templates[name]

    yield choose
    conversation.default_conversation = before


CASES = [
    ("plain", None),
    ("v1", None),
    ("v1", "mistral"),
    ("plain", "mistral"),
    ("llama_3", "llama3"),
    ("smollm2", "smollm3"),
    ("auto", "qwen2"),
    ("auto", "gemma3"),
]


@pytest.mark.parametrize("version, family", CASES)
def test_token_ids_and_labels_are_llavas(version, family, template):
    find_host("llava").install()
    import llava.train.train as llava_train

    from revision_plugin.demo.tokenizer import build_tokenizer
    from revision_plugin.hosts.hf.training_data import Encoding
    from revision_plugin.hosts.llava.tokenizers import prepare_tokenizer

    tokenizer = build_tokenizer() if family is None else families.tokenizer(families.FAMILIES[family])
    tokenizer.pad_token, tokenizer.model_max_length = tokenizer.unk_token, 2048
    prepare_tokenizer(tokenizer, begin=True, version=version)
    template(version)
    image_id = 10_000
    encoding = Encoding(tokenizer, version, image_id, tokens=3, longest=2048)
    caption = [{"from": "human", "value": "<image>\nDescribe."}, {"from": "gpt", "value": "a dog on the left"}]
    talks = [caption] if version == "plain" else [TALK, TALK[:2], TALK[1:], caption]
    talks += [] if version == "plain" else [[{**TALK[2]}, TALK[3]]]
    for talk in talks:
        image = torch.zeros(8) if any("<image>" in turn["value"] for turn in talk) else None
        data_args = type("Arguments", (), dict(is_multimodal=True, mm_use_im_start_end=False))
        source = [[dict(turn) for turn in talk]]
        if image is not None:
            source = llava_train.preprocess_multimodal(source, data_args)
        theirs = llava_train.preprocess(source, tokenizer, has_image=image is not None)
        ids, labels = theirs["input_ids"][0].tolist(), theirs["labels"][0].tolist()
        assert any(label != -100 for label in labels)
        item = encoding.item(talk, image, "x")
        expanded = [each for one in ids for each in ([image_id] * 3 if one == -200 else [one])]
        places = [each for one, label in zip(ids, labels) for each in ([-100] * 3 if one == -200 else [label])]
        assert item["input_ids"].tolist() == expanded and item["labels"].tolist() == places


def test_the_host_keeps_its_contract_and_waits_to_be_named():
    check_host(find_host("hf"))
    assert find_host().name == "llava", "transformers is always there"


REFUSALS = [
    (("--mm_vision_select_layer", "-2"), "--mm_vision_select_layer: no such flag in this training"),
    (("--version", "llava_llama_2"), "--version llava_llama_2: this host has the conversation templates plain, v1"),
    (("--mm_use_im_start_end", "True"), "images have no marks around them"),
    (("--mm_projector_type", "mlp3x_gelu"), "transformers' LLaVA holds linear and mlp2x_gelu"),
    (("--vision_tower", "openai/clip-vit-large-patch14-336"), "give --vision_tower revision"),
    (("--image_aspect_ratio", "anyres"), "use square or pad"),
    (("--label_smoothing_factor", "0.1"), "leave it out"),
    (("--bits", "4", "--tune_mm_mlp_adapter", "False"), "give --lora_enable True"),
    (("--lora_enable", "True"), "--tune_mm_mlp_adapter trains the projector alone"),
    (("--save_only_model", "True"), "cannot be resumed"),
    (("--pretrain_mm_mlp_adapter", "NONE"), "no such projector"),
    (("--data_path", "NONE"), "is neither a store nor a LLaVA JSON"),
    (("--learning_rate", "nan"), "a finite number is needed"),
    (("--model_max_length", "4", "--revision_tokens", "8"), "8 visual tokens do not fit into --model_max_length 4"),
]


def refused(capsys, out, llm, *flags) -> str:
    tower = ("--vision_tower", "revision", "--revision_encoder", "demo")
    command = [*FLAGS, *tower, "--model_name_or_path", llm, "--output_dir", out, "--max_steps", 1, *flags]
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        launch.main([*map(str, command)])
    assert end.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


@pytest.mark.slow
@pytest.mark.parametrize("flags, message", REFUSALS)
def test_what_the_host_does_not_honour_is_refused(flags, message, stores, tiny_llm, tmp_path, capsys):
    words = [tmp_path / "none.json" if flag == "NONE" else flag for flag in flags]
    assert message in refused(capsys, tmp_path / "out", tiny_llm, *HF, *stage1_flags(stores), *words)
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.slow
def test_an_encoder_that_no_folder_holds_is_refused_before_a_step(world_files, tiny_llm, tmp_path, monkeypatch, capsys):
    """The class of docs/encoders.md, which transformers cannot build."""
    (module,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "encoders.md").read_text(), re.S)
    (tmp_path / "encoder_of_hf_test.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    flags = (*stage2_flags(world_files), "--revision_encoder", "python:encoder_of_hf_test:MyEncoder")
    out = tmp_path / "out"
    assert "is a class of its own" in refused(capsys, out, tiny_llm, *HF, *flags, "--use_cpu", "True")
    assert not (out / "trainer_state.json").exists()


@pytest.mark.slow
def test_a_folder_with_other_code_is_not_opened(captions, stores, world_files, tmp_path, capsys):
    """Neither is it run: the line that was added would end the process."""
    folder = tmp_path / "folder"
    shutil.copytree(captions[0], folder)
    with open(folder / "modeling_revision.py", "a") as file:
        file.write("\nraise SystemExit(7)\n")
    message = "is not this release's own"
    picture = world_files / "images" / "00000.png"
    assert message in refuse(capsys, "ask", "--model", folder, "--image", picture)
    flags = stage2_flags(world_files)
    assert message in refused(capsys, tmp_path / "out", folder, *HF, *flags)
    assert message in refused(capsys, tmp_path / "new", DEMO_LLM, *HF, *flags, "--pretrain_mm_mlp_adapter", folder)
    assert "add --host hf" in refused(capsys, tmp_path / "llava", captions[0], *flags)


@pytest.mark.slow
def test_a_folder_is_asked_as_it_was_trained(captions, world_files, capsys):
    assert "kind: HF-native checkpoint" in run_revision("inspect", captions[0]).stdout
    host = find_host(model=captions[0])
    assert host.name == "hf" and find_host(model=captions[1]).name == "llava"
    with pytest.raises(RevisionError, match="leave out --base"):
        host.check_checkpoint(captions[0], "llm")
    with pytest.raises(RevisionError, match="by 'plain' and not by 'v1'"):
        host.load(str(captions[0]), template="v1")
    picture = world_files / "images" / "00000.png"
    assert "ask no question" in refuse(capsys, "ask", "--model", captions[0], "--image", picture, "is there a dog?")


@pytest.mark.slow
def test_a_folder_can_be_written_again_from_its_parts(answers, tmp_path):
    """What a trained folder is taken apart into gives the same folder."""
    from revision_plugin.hosts.hf.native_folder import write_native

    assistant = find_host(model=answers[0]).load(str(answers[0]))
    (tmp_path / "again").mkdir()
    write_native(assistant.parts(str(answers[0]), None), tmp_path / "again")
    for name in ("config.json", "generation_config.json", "chat_template.jinja", "preprocessor_config.json"):
        assert (tmp_path / "again" / name).read_text() == (answers[0] / name).read_text(), name
    before, after = weights(answers[0]), weights(tmp_path / "again")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
