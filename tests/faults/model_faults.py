"""Faults of encoders and checkpoints: what other people's folders may hold."""

import itertools
import json
import os
import shutil

import numpy as np
import torch
from catalogue import ENCODE_TEXTS, ROOT, edit_json, fault, nothing
from safetensors.numpy import load_file, save_file

ASK = "ask --model stage1 --base llm --image pictures/00000.png --device cpu"
ENCODER = ROOT / "revision_plugin" / "demo" / "assets" / "encoder"

# encoders


def encoder_folder(w, **changes):
    shutil.copytree(ENCODER, w / "encoder")
    edit_json(w / "encoder" / "open_clip_config.json", lambda config: config["model_cfg"].update(changes))


OWN = ENCODE_TEXTS.replace("demo", "open_clip:encoder")


@fault("an open_clip folder that asks for a tokenizer's code", OWN, "asks for code of a tokenizer's own; read it")
def _(w):
    config = json.loads((ENCODER / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    encoder_folder(w, text_cfg={**config, "tokenizer_kwargs": {"trust_remote_code": True}})


@fault("an open_clip folder whose tokenizer brings code", OWN, "brings code of its own (evil.Evil); read it")
def _(w):
    encoder_folder(w)
    (w / "encoder" / "evil.py").write_text(f"open({str(w / 'ran')!r}, 'w')\nclass Evil: pass\n")
    (w / "encoder" / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.Evil", null]}}')


@fault("an open_clip folder without dimension", OWN, "does not load on transformers")
def _(w):
    encoder_folder(w, embed_dim="wide")


@fault("an open_clip folder whose config is a list", OWN, "open_clip_config.json: expected a JSON object")
def _(w):
    encoder_folder(w)
    (w / "encoder" / "open_clip_config.json").write_text("[]")


@fault("a transformers folder with code in another repository", ENCODE_TEXTS.replace("demo", "hf:model"), "brings code")
def _(w):
    (w / "model").mkdir()
    (w / "model" / "config.json").write_text('{"auto_map": {"AutoModel": "someone/else--evil.Evil"}}')


@fault("a transformers folder whose config is no JSON", ENCODE_TEXTS.replace("demo", "hf:model"), "not valid JSON")
def _(w):
    (w / "model").mkdir()
    (w / "model" / "config.json").write_text("{")


@fault("an open_clip folder with cut weights", OWN, "encoder 'open_clip:encoder': does not load")
def _(w):
    encoder_folder(w)
    (weights,) = (w / "encoder").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1000])


@fault(
    "a transformers encoder that lacks a weight",
    "encode --encoder hf:clip --images pictures --out new",
    "lack the weights",
)
def _(w):
    weights = load_file(w / "clip" / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, w / "clip" / "model.safetensors", {"format": "pt"})


fault("an encoder nobody knows", ENCODE_TEXTS.replace("demo", "magic:x"), "unknown encoder 'magic'")(nothing)
fault("a module that is not there", ENCODE_TEXTS.replace("demo", "python:no.where:X"), "does not import")(nothing)


@fault("a module that does not compile", ENCODE_TEXTS.replace("demo", "python:broken_module:X"), "does not import")
def _(w):
    (w / "broken_module.py").write_text("class X(:\n")


# checkpoints


def edit_config(w, change):
    edit_json(w / "stage1" / "config.json", change)


def edit_projector(w, change):
    weights = torch.load(w / "stage1" / "mm_projector.bin", weights_only=True)
    changed = change(weights)
    torch.save(weights if changed is None else changed, w / "stage1" / "mm_projector.bin")


def edit_llm(w, change):
    """Change the language model below a checkpoint that, as those of old, does not know which it was trained over."""
    edit_config(w, lambda config: config["revision"].pop("language_model") and None)
    weights = load_file(w / "llm" / "model.safetensors")
    change(weights)
    save_file(weights, w / "llm" / "model.safetensors", {"format": "pt"})


@fault("a checkpoint that names a module as its encoder", ASK, "which data names and not you; read it")
def _(w):
    (w / "evil_module.py").write_text(f"open({str(w / 'ran')!r}, 'w')\n")
    edit_config(w, lambda config: config["revision"]["encoder"].update(spec="python:evil_module:X"))


@fault("a checkpoint that names an installed module", ASK, "which data names and not you; read it")
def _(w):
    edit_config(w, lambda config: config["revision"]["encoder"].update(spec="python:antigravity:X"))


@fault("a checkpoint whose encoder is another one now", ASK, "the checkpoint was trained with another encoder")
def _(w):
    edit_config(w, lambda config: config["revision"]["encoder"].update(fingerprint="0" * 64))


@fault("a checkpoint with tokens in words", ASK, "tokens cannot be what it says")
def _(w):
    edit_config(w, lambda config: config["revision"].update(tokens="many"))


@fault("a checkpoint with a million of millions of tokens", ASK, "tokens cannot be what it says")
def _(w):
    edit_config(w, lambda config: config["revision"].update(tokens=10**12))


@fault("a checkpoint that cannot answer as its config says", ASK, "does not load or answer")
def _(w):
    edit_config(w, lambda config: config.update(image_aspect_ratio="anyres"))


@fault("a checkpoint whose record is a text", "inspect stage1", "'revision' is no record of a tower")
def _(w):
    edit_config(w, lambda config: config.update(revision="yes"))


@fault("a checkpoint whose config is cut", ASK, "config.json: not valid JSON")
def _(w):
    (w / "stage1" / "config.json").write_text('{"model_type": "lla')


@fault(
    "a checkpoint of another kind of model",
    ASK,
    "was trained over a language model of type 'mpt', --base llm is a 'llama'",
)
def _(w):
    edit_config(w, lambda config: config.update(model_type="mpt"))


def lora(w, **missing):
    """A LoRA checkpoint of two layers, without what `missing` names."""
    (w / "stage1" / "mm_projector.bin").rename(w / "stage1" / "non_lora_trainables.bin")
    (w / "stage1" / "adapter_config.json").write_text("{}")
    name = "base_model.model.model.layers.{}.self_attn.{}_proj.lora_{}.weight".format
    weights = {name(*each): np.ones((2, 2), np.float32) for each in itertools.product((0, 1), "qv", "AB")}
    for each in missing.get("adapters", ()):
        del weights[name(*each)]
    save_file(weights, w / "stage1" / "adapter_model.safetensors")


@fault("a LoRA checkpoint without its projector", ASK, "non_lora_trainables.bin: no such file")
def _(w):
    lora(w)
    (w / "stage1" / "non_lora_trainables.bin").unlink()


@fault("a LoRA checkpoint with half of an adapter", ASK, "lacks base_model.model.model.layers.1.self_attn.q_proj")
def _(w):
    lora(w, adapters=[(1, "q", "B")])


@fault("a LoRA checkpoint without the adapter of a layer", ASK, "lacks adapters of 'v_proj' in some layers")
def _(w):
    lora(w, adapters=[(0, "v", "A"), (0, "v", "B")])


@fault("a LoRA checkpoint whose config names other modules", ASK, "the adapter of 'model.layers.0.self_attn.k_proj'")
def _(w):
    lora(w)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "k_proj", "v_proj"]}
    (w / "stage1" / "adapter_config.json").write_text(json.dumps(config))
    hidden = json.loads((w / "llm" / "config.json").read_text())["hidden_size"]
    name = "base_model.model.model.layers.{}.self_attn.{}_proj.lora_{}.weight".format
    shapes = {"A": (2, hidden), "B": (hidden, 2)}
    every = itertools.product((0, 1), "qv", "AB")
    weights = {name(*each): np.ones(shapes[each[2]], np.float32) for each in every}
    save_file(weights, w / "stage1" / "adapter_model.safetensors")


@fault("a LoRA checkpoint without adapters", ASK, "adapter_model.safetensors: no such file")
def _(w):
    lora(w)
    (w / "stage1" / "adapter_model.safetensors").unlink()


@fault("an empty projector", ASK, "mm_projector.bin: holds no weights that can be read")
def _(w):
    (w / "stage1" / "mm_projector.bin").write_bytes(b"")


@fault("a projector that holds something else", ASK, "holds something else than weights")
def _(w):
    torch.save({"model.mm_projector.0.weight": 3}, w / "stage1" / "mm_projector.bin")


@fault("a projector with misnamed weights", ASK, "holds no weights of a projector")
def _(w):
    edit_projector(w, lambda weights: {name.replace("mm_projector", "projector"): v for name, v in weights.items()})


@fault("a projector with a part of its weights", ASK, "lacks the projector's weights 'mm_projector.2.bias'")
def _(w):
    edit_projector(w, lambda weights: {name: v for name, v in weights.items() if not name.endswith("2.bias")})


@fault("a projector that is not finite", ASK, "are not finite; train it again")
def _(w):
    edit_projector(w, lambda weights: [v.view(-1).__setitem__(0, float("nan")) for v in weights.values()] and None)


@fault("another language model than the one a checkpoint was trained over", ASK, "--base llm: holds other weights than")
def _(w):
    weights = load_file(w / "llm" / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, w / "llm" / "model.safetensors", {"format": "pt"})


@fault("a language model that is not finite", ASK, "are not finite")
def _(w):
    edit_llm(w, lambda weights: weights["model.norm.weight"].__setitem__(0, np.nan))


@fault("a language model with fewer layers in its config", ASK, "has more than its config says")
def _(w):
    edit_config(w, lambda config: config.update(num_hidden_layers=1))


@fault("a pipe in place of weights", ASK, "model.safetensors: is not a regular file")
def _(w):
    edit_config(w, lambda config: config["revision"].pop("language_model") and None)
    (w / "llm" / "model.safetensors").unlink()
    os.mkfifo(w / "llm" / "model.safetensors")


@fault("a checkpoint whose record is null, with flags in its config", ASK, "'revision' is no record of a tower")
def _(w):
    (w / "evil_module.py").write_text(f"open({str(w / 'ran')!r}, 'w')\n")
    edit_config(w, lambda c: c.update(revision=None, revision_encoder="python:evil_module:X", revision_tokens=2))


@fault("a checkpoint with a template nobody knows", ASK, "no conversation template 'magic'")
def _(w):
    edit_config(w, lambda config: config["revision"].update(conversation="magic"))


@fault("a checkpoint with a projector type nobody knows", ASK, "stage1: does not load or answer")
def _(w):
    edit_config(w, lambda config: config.update(mm_projector_type="magic"))


@fault("a language model without its tokenizer", ASK, "stage1: does not load or answer")
def _(w):
    (w / "llm" / "tokenizer.json").unlink()


@fault("a language model without one of its weights", ASK, "lacks the weights 'model.norm.weight'")
def _(w):
    edit_llm(w, lambda weights: weights.pop("model.norm.weight"))


@fault("a language model without weights", ASK, "llm: holds no weights")
def _(w):
    (w / "llm" / "model.safetensors").unlink()


@fault("a language model without its head", ASK, "lacks the weights 'lm_head.weight'")
def _(w):
    edit_llm(w, lambda weights: weights.pop("lm_head.weight"))


@fault("a language model whose tokenizer brings code", ASK, "brings code of its own; read it")
def _(w):
    (w / "llm" / "evil.py").write_text(f"open({str(w / 'ran')!r}, 'w')\nclass Evil: pass\n")
    auto_map = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    edit_json(w / "llm" / "tokenizer_config.json", lambda c: c.update(auto_map=auto_map, tokenizer_class="Evil"))


fault("a question with <image>", "ask --model stage1 --image pictures/00000.png <image>?", "holds <image>")(nothing)
fault("no such checkpoint", "ask --model none --image pictures/00000.png why?", "none: no config.json")(nothing)
fault("a Stage-1 checkpoint without its language model", ASK.replace(" --base llm", ""), "with --base")(nothing)


@fault("a pipe in place of an image", ASK.replace("00000", "pipe"), "pipe.png: is not a regular file")
def _(w):
    os.mkfifo(w / "pictures" / "pipe.png")


# exports

EXPORT = "export --model stage1 --base llm --out new"


@fault("a checkpoint to be exported over another language model", EXPORT, "--base llm: holds other weights than")
def _(w):
    weights = load_file(w / "llm" / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, w / "llm" / "model.safetensors", {"format": "pt"})


@fault("a checkpoint to be exported whose encoder is gone", EXPORT, "encoder 'open_clip:gone' cannot be loaded")
def _(w):
    edit_config(w, lambda config: config["revision"]["encoder"].update(spec="open_clip:gone"))


@fault("a checkpoint of tiles to be exported", EXPORT, "--image_aspect_ratio anyres, which the exported form has not")
def _(w):
    edit_config(w, lambda config: config.update(image_aspect_ratio="anyres"))


@fault("a checkpoint to be exported into a full folder", EXPORT, "new: already exists; choose another --out")
def _(w):
    (w / "new").mkdir()
    (w / "new" / "mine.txt").write_text("mine")


@fault("an export whose run.json is no record", EXPORT, "run.json: was not written by a training")
def _(w):
    (w / "stage1" / "run.json").write_text("{}")


fault("an export with scores that are none", f"{EXPORT} --results pictures", "pictures: no results of")(nothing)
fault("a store exported with a base", "export --store texts --base llm --out new", "--base: is for a checkpoint")(
    nothing
)
