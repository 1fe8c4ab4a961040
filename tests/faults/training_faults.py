"""Faults that meet a training: of its flags, its data, and the folder that it goes on in."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from catalogue import edit_json
from PIL import Image
from safetensors.torch import load_file, save_file


@dataclass(frozen=True)
class TrainingFault:
    """`inject` damages the folder; of `flags` a word in it is a path there. `kind`: Stage 1 on the store `texts`,
    Stage 2 on `questions.json`, or Stage 1 that goes on in the folder `stopped`.
    """

    name: str
    inject: Callable[[Path], None]
    line: str
    kind: str = "stage1"
    flags: tuple = ()


TRAINING_FAULTS: list[TrainingFault] = []


def fault(name: str, line: str, *flags: str, kind: str = "stage1"):
    def add(inject):
        TRAINING_FAULTS.append(TrainingFault(name, inject, line, kind, flags))
        return inject

    return add


def nothing(w: Path) -> None:
    pass


def newest(w: Path) -> Path:
    return max((w / "stopped").glob("checkpoint-*"))


# flags

for flags, line in {
    ("--revision_tok", "4"): "--revision_tok: no such flag in this training (flags are not abbreviated); did you mean",
    ("--learning_rat", "1e-3"): "--learning_rat: no such flag",
    ("--bogus", "1"): "--bogus: no such flag",
    ("--learning_rate", "nan"): "--learning_rate nan: a finite number is needed",
    ("--learning_rate", "-1"): "--learning_rate -1.0: a number of at least 0 is needed",
    ("--seed", "4294967296"): "--seed 4294967296: a number of at most 4294967295 is needed",
    ("--per_device_train_batch_size", "0"): "--per_device_train_batch_size 0: a number of at least 1 is needed",
    ("--revision_tokens", "0"): "--revision_tokens 0: a number of at least 1 is needed",
    ("--revision_tokens", "many"): "invalid int value: 'many'",
}.items():
    fault(f"training with {' '.join(flags)}", line, *flags)(nothing)


@fault(
    "a language model whose path holds 'mpt'", "LLaVA takes every name with 'mpt'", "--model_name_or_path", "w/prompts"
)
def _(w):
    shutil.copytree(w / "llm", w / "prompts")


@fault("a language model whose config brings code", "brings code of its own; read it", "--model_name_or_path", "w/llm")
def _(w):
    (w / "llm" / "evil.py").write_text(f"open({str(w / 'ran')!r}, 'w')\nclass Evil: pass\n")
    auto_map = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    edit_json(w / "llm" / "tokenizer_config.json", lambda c: c.update(auto_map=auto_map, tokenizer_class="Evil"))


@fault("a projector that is not finite, for Stage 2", "are not finite", "--pretrain_mm_mlp_adapter", "w/p.bin")
def _(w):
    weights = torch.load(w / "stage1" / "mm_projector.bin", weights_only=True)
    torch.save({name: value * float("nan") for name, value in weights.items()}, w / "p.bin")


@fault("a projector that is a pickle of code", "holds no weights that", "--pretrain_mm_mlp_adapter", "w/p.bin")
def _(w):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {w / 'ran'}",)

    torch.save({"mm_projector": Evil()}, w / "p.bin")


for flags, line in {
    ("--version", "llama3"): "--version llama3: no such conversation template; did you mean llama_3?",
    ("--save_only_model", "True"): "such a checkpoint cannot be resumed with the same result",
    ("--deepspeed", "nope.json"): "nope.json: no such file",
    ("--optim", "magic"): "the training ended in ValueError",
    ("--mm_projector_type", "magic"): "the training ended in ValueError: Unknown projector type: magic",
}.items():
    fault(f"training with {' '.join(flags)}", line, *flags)(nothing)


@fault("a finished run under a flag with dashes", "already holds a finished run", "--output-dir", "w/stage1")
def _(w):
    pass


@fault(
    "an output folder that holds a model", "already holds a finished run (model.safetensors)", "--output_dir", "w/llm"
)
def _(w):
    pass


@fault("a language model that lacks a layer", "lacks the weights 'model.layers.1")
def _(w):
    path = w / "llm" / "model.safetensors"
    kept = {name: value for name, value in load_file(path).items() if ".layers.1." not in name}
    save_file(kept, path, {"format": "pt"})


@fault("a language model of another kind", "the weights '", kind="stage2")
def _(w):
    edit_json(w / "llm" / "config.json", lambda config: config.update(num_hidden_layers=1))


@fault("embeddings of a store that were exchanged", "the content does not match its hash")
def _(w):
    from revision_plugin.embeddings.store import Store

    (shard,) = (w / "texts").glob("*.arrow")
    (matrix,) = list(Store.open(w / "texts").blocks(rows=10**6))
    one, other, data = matrix[3].tobytes(), matrix[5].tobytes(), shard.read_bytes()
    place, where = data.index(one), data.index(other)
    data = data[:place] + other + data[place + len(one) :]
    shard.write_bytes(data[:where] + one + data[where + len(other) :])


# data


@fault("captions of a store that were edited", "the content does not match its hash")
def _(w):
    (shard,) = (w / "texts").glob("*.arrow")
    data = shard.read_bytes()
    word = next(word for word in (b"background", b"left", b"right") if word in data)
    shard.write_bytes(data.replace(word, word[::-1], 1))


@fault("a loss that is not finite", "is nan; lower --learning_rate, or look", "--learning_rate", "1e30")
def _(w):
    pass


@fault("instructions cut short", "questions.json: not valid JSON", kind="stage2")
def _(w):
    (w / "questions.json").write_text((w / "questions.json").read_text()[:500])


@fault("instructions without a conversation", "1 record(s) cannot be learned, first ", kind="stage2")
def _(w):
    edit_json(w / "questions.json", lambda rows: rows[3].pop("conversations") and None)


@fault("a question with two <image>", "its conversation holds 2 <image> for 1 image(s)", kind="stage2")
def _(w):
    edit_json(w / "questions.json", lambda rows: rows[3]["conversations"][0].update(value="<image> <image>?"))


@fault("a question with <image> and no image", "its conversation holds 1 <image> and there is no image", kind="stage2")
def _(w):
    edit_json(w / "questions.json", lambda rows: rows[3].pop("image") and None)


@fault("instructions whose image lies elsewhere", "'../secret.png' lies outside the image folder", kind="stage2")
def _(w):
    edit_json(w / "questions.json", lambda rows: rows[3].update(image="../secret.png"))


@fault("instructions whose image is a link that leads out", "lies outside the image folder", kind="stage2")
def _(w):
    for name in {record["image"] for record in json.loads((w / "questions.json").read_text())}:
        (w / "images" / name).rename(w / name)
        (w / "images" / name).symlink_to(w / name)


@fault("an image that does not decode, in a training", "does not decode as an image", kind="stage2")
def _(w):
    for path in (w / "images").iterdir():
        path.write_text("not a picture")


@fault("an image that is missing, in a training", "no such file", kind="stage2")
def _(w):
    shutil.rmtree(w / "images")
    (w / "images").mkdir()


# the folder it goes on in


@fault("a foreign checkpoint-7 in the output folder", "is no checkpoint that this training saved", kind="stopped")
def _(w):
    (w / "stopped" / "checkpoint-7").mkdir()
    (w / "stopped" / "checkpoint-7" / "mine.txt").write_text("mine")


@fault("a folder in the way of the final files", ".revision_unfinished: is in the way", kind="stopped")
def _(w):
    (w / "stopped" / ".revision_unfinished").mkdir()
    (w / "stopped" / ".revision_unfinished" / "mine.txt").write_text("mine")


@fault("an optimizer state that vanished", "optimizer.pt is missing since it was saved", kind="stopped")
def _(w):
    (newest(w) / "optimizer.pt").unlink()


@fault("an optimizer state that changed", "optimizer.pt has changed since it was saved", kind="stopped")
def _(w):
    data = bytearray((newest(w) / "optimizer.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (newest(w) / "optimizer.pt").write_bytes(data)


@fault("another language model under a stopped training", "another content of its --model_name_or_path", kind="stopped")
def _(w):
    data = bytearray((w / "llm" / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (w / "llm" / "model.safetensors").write_bytes(data)


@fault("another store under a stopped training", "another content of its --data_path", kind="stopped")
def _(w):
    shutil.rmtree(w / "texts")
    shutil.copytree(w / "other_texts", w / "texts")


@fault("another seed in a stopped training", "another --seed (not given, now 7)", "--seed", "7", kind="stopped")
def _(w):
    pass


@fault("a run.json that was cut", "run.json: not valid JSON", kind="stopped")
def _(w):
    (w / "stopped" / "run.json").write_text('{"command')


@fault("a run.json that holds something else", "run.json: was not written by a training", kind="stopped")
def _(w):
    (w / "stopped" / "run.json").write_text('{"command": 3}')


@fault("other images under a stopped training", "holds a stopped run with other images", kind="stopped paired")
def _(w):
    for path in (w / "images").iterdir():
        Image.new("RGB", (32, 32), "red").save(path)
