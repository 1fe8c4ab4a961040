"""ms-swift's own command line trains an exported folder, where scripts/ms_swift/setup.sh has made its environment."""

import json
import os
import shutil
import subprocess

import pytest
from conftest import ENVIRONMENT, ROOT, run, run_revision

SWIFT = ROOT / ".venv-swift" / "bin" / "swift"
PLUGIN = ROOT / "scripts" / "ms_swift" / "revision_swift.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SWIFT.exists(), reason="no .venv-swift; bash scripts/ms_swift/setup.sh makes it"),
]
FLAGS = """--model_type revision --use_hf true --torch_dtype float32 --dataset_num_proc 1""".split()
TRAINING = """--tuner_type full --check_model false --strict true --split_dataset_ratio 0 --dataloader_num_workers 0
    --report_to none --add_version false --logging_steps 1 --per_device_train_batch_size 4 --max_steps 2
    --learning_rate 1e-3 --vit_gradient_checkpointing false --freeze_vit true --freeze_aligner false""".split()
ROWS = 4  # one batch, so that the order in which they come says nothing


def swift(command, folder, *flags, cache, expect=0):
    """One command of ms-swift with the plugin."""
    environment = {
        **ENVIRONMENT,
        "PATH": f"{SWIFT.parent}{os.pathsep}{ENVIRONMENT['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(cache),
        "MODELSCOPE_CACHE": str(cache),
    }
    words = [SWIFT, command, "--model", folder, "--external_plugins", PLUGIN, *FLAGS, *flags]
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, env=environment, cwd=cache, timeout=300
    )
    assert (done.returncode != 0) == (expect != 0), f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def settings(**values):
    return "--model_kwargs", json.dumps({name: str(value) for name, value in values.items()})


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def changed(before, after):
    """Which parts of the model have other weights in `after`, and which the same in all tensors."""
    old, new = weights(before), weights(after)
    assert old.keys() == new.keys()
    parts = {}
    for name, value in old.items():
        parts.setdefault(name.split(".")[1], []).append(value.equal(new[name]))
    return {part for part, same in parts.items() if not any(same)}, {part for part, same in parts.items() if all(same)}


def first_loss(out):
    return json.loads((out / "logging.jsonl").read_text().splitlines()[0])["loss"]


class Model:
    """An exported folder in transformers, and what its loss should be, without ms-swift or the plugin's own tower."""

    def __init__(self, folder):
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True).eval()

    def texts(self, parts, reply):
        """The prompt that asks with these parts of a turn, and the conversation once it is answered."""
        question = {"role": "user", "content": parts}
        answer = {"role": "assistant", "content": [{"type": "text", "text": reply}]}
        asked = self.processor.apply_chat_template([question], tokenize=False, add_generation_prompt=True)
        whole = self.processor.apply_chat_template([question, answer], tokenize=False)
        assert whole.startswith(asked)
        return asked, whole

    def loss(self, examples):
        """Of a prompt, it with its reply, and an embedding [D] or a picture: the mean over all replies' tokens."""
        import torch

        total, count = 0.0, 0
        for asked, whole, image in examples:
            with torch.no_grad():
                tower = self.model.model.vision_tower
                if not isinstance(image, torch.Tensor):
                    pixels = self.processor.image_processor(image, return_tensors="pt")["pixel_values"]
                    image = tower(pixels).hidden_states[-1][0, 0]
                start, ids = (
                    self.processor.tokenizer(
                        text.replace("<image>", "<image>" * tower.config.tokens),
                        add_special_tokens=False,
                        return_tensors="pt",
                    ).input_ids
                    for text in (asked, whole)
                )
                embedded = self.model.get_input_embeddings()(ids)
                embedded[ids == self.model.config.image_token_id] = self.model.model.multi_modal_projector(image)
                states = self.model.model.language_model(inputs_embeds=embedded).last_hidden_state
                told = self.model.lm_head(states)[0, start.shape[1] - 1 : -1].log_softmax(-1)
                replies = ids[0, start.shape[1] :]
                total -= told.gather(1, replies[:, None]).sum().item()
                count += len(replies)
        return total / count


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def untrained(exported_demo, tmp_path_factory):
    """The exported folder with a projector that was never trained."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("untrained") / "folder"
    shutil.copytree(exported_demo[0], folder)
    torch.manual_seed(0)
    values = {
        name: torch.randn_like(value) * 0.05 if "projector" in name else value
        for name, value in weights(folder).items()
    }
    save_file(values, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def texts(world_files, tmp_path_factory):
    """A store of a few texts."""
    root = tmp_path_factory.mktemp("texts")
    (root / "texts.json").write_text(json.dumps(json.loads((world_files / "texts.json").read_text())[:ROWS]))
    run("encode", "--encoder", "demo", "--texts", root / "texts.json", "--out", root / "store")
    return root / "store"


def train_on_texts(out, untrained, texts, stores, cache, *flags):
    data = ("--dataset", texts / "manifest.json", *settings(revision_aligner=stores / "realign"))
    swift("sft", untrained, *TRAINING, *data, "--freeze_llm", "true", "--output_dir", out, *flags, cache=cache)
    return out


@pytest.fixture(scope="module")
def stage1(untrained, texts, stores, cache, tmp_path_factory):
    return train_on_texts(tmp_path_factory.mktemp("stage1"), untrained, texts, stores, cache)


@pytest.fixture(scope="module")
def aligned(texts, stores):
    """The few texts, each with its aligned embedding."""
    import torch

    from revision_plugin import Store, load_aligner

    store = Store.open(texts)
    embeddings = load_aligner(stores / "realign")(torch.from_numpy(store.span(0, ROWS)))
    return [(store.row(index)["text"], embedding) for index, embedding in enumerate(embeddings)]


def test_stage_1_learns_the_projector_from_texts(stage1, untrained, aligned):
    model = Model(untrained)
    expected = model.loss((*model.texts([{"type": "image"}], text), embedding) for text, embedding in aligned)
    assert first_loss(stage1) == pytest.approx(expected, rel=1e-4)
    new, same = changed(untrained, stage1 / "checkpoint-2")
    assert new == {"multi_modal_projector"} and same == {"vision_tower", "language_model"}


def test_the_plain_prompt_is_llava_s(untrained, texts, stores, aligned, cache, tmp_path):
    train_on_texts(tmp_path, untrained, texts, stores, cache, "--use_chat_template", "false")
    expected = Model(untrained).loss(("<s><image>", f"<s><image>{text}\n", embedding) for text, embedding in aligned)
    assert first_loss(tmp_path) == pytest.approx(expected, rel=1e-4)


def test_stage_2_learns_from_images(stage1, world_files, cache, tmp_path):
    from PIL import Image

    records = json.loads((world_files / "questions.json").read_text())[:ROWS]
    for record in records:
        record["conversations"] = record["conversations"][:2]
    (tmp_path / "questions.json").write_text(json.dumps(records))
    images = world_files / "images"
    data = ("--dataset", tmp_path / "questions.json", *settings(root_image_dir=images))
    begin, out = stage1 / "checkpoint-2", tmp_path / "out"
    swift("sft", begin, *TRAINING, *data, "--freeze_llm", "false", "--output_dir", out, cache=cache)
    model, examples = Model(begin), []
    for record in records:
        question, reply = (turn["value"] for turn in record["conversations"])
        parts = [{"type": "image"}, {"type": "text", "text": question.removeprefix("<image>\n")}]
        examples.append((*model.texts(parts, reply), Image.open(images / record["image"]).convert("RGB")))
    assert first_loss(out) == pytest.approx(model.loss(examples), rel=1e-4)
    new, same = changed(begin, out / "checkpoint-2")
    # of the tower its batch normalisation's running means, too
    assert new == {"multi_modal_projector", "language_model"} and same == {"vision_tower"}
    Model(out / "checkpoint-2").loss(examples)  # it is such a folder again


def test_it_answers_as_the_checkpoint_does(exported_demo, world_files, cache, tmp_path):
    folder, checkpoint = exported_demo
    image, questions = world_files / "images" / "00000.png", ["is there a dog?", "what color is the background?"]
    rows = [
        {"messages": [{"role": "user", "content": f"<image>\n{each}"}], "images": [str(image)]} for each in questions
    ]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ("--val_dataset", tmp_path / "asked.jsonl", "--result_path", tmp_path / "told.jsonl")
    swift("infer", folder, *flags, "--temperature", 0, "--max_new_tokens", 8, cache=cache)
    told = [json.loads(line)["response"].strip() for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    asked = ("ask", "--model", checkpoint, "--image", image, *questions, "--max-new-tokens", 8, "--json")
    answers = [json.loads(line)["answer"] for line in run_revision(*asked).stdout.splitlines()]
    assert told == answers


def test_texts_without_an_aligner_are_refused(untrained, texts, cache, tmp_path):
    data = ("--dataset", texts / "manifest.json", "--output_dir", tmp_path)
    refused = swift("sft", untrained, *TRAINING, *data, "--freeze_llm", "true", cache=cache, expect=1).stderr
    assert f"{texts}: text embeddings need an aligner; give --model_kwargs" in refused
