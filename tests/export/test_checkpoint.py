"""`revision export --model`: what opens with transformers alone is the model that was trained."""

import json

import pytest
import tiny_families as families
import tiny_llm2clip
import untrained
from conftest import run
from safetensors import safe_open

from revision_plugin.encoders import remote_code
from revision_plugin.errors import RevisionError
from revision_plugin.export import equality, open_folder
from revision_plugin.export.checkpoint import export_checkpoint
from revision_plugin.hosts import find_host


@pytest.fixture
def in_this_process(monkeypatch):
    """The comparison opens the folder here: the same code without the seconds that a process takes to start. The tests
    of the command start it.
    """
    monkeypatch.setattr(remote_code, "_consent", True)  # which a process without this package does not ask for
    monkeypatch.setattr(equality, "_run", lambda words, place: open_folder.main(*words))


@pytest.mark.parametrize("name", families.FAMILIES)
def test_families_of_language_models(name, tiny_open_clip, tmp_path, in_this_process):
    """The exporter's own comparison: prompts, pixels, logits to 1e-5 and answers, with the families' chat templates."""
    llm = families.write(tmp_path / "llm", families.FAMILIES[name])
    model = untrained.checkpoint(tmp_path / "model", llm, f"open_clip:{tiny_open_clip}", version="auto")
    export_checkpoint(str(model), tmp_path / "out")


@pytest.mark.parametrize("kind", families.OTHERS)
def test_types_of_another_build(kind, tiny_llm, tiny_open_clip, tmp_path, in_this_process):
    """Other names of parts, heads with a bias, a factor or a bound, experts, learned positions."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_llm)
    sizes = {**families.SIZES, **families.OTHERS[kind], "vocab_size": len(tokenizer)}
    sizes |= {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = transformers.CONFIG_MAPPING[kind]
    known = {name: value for name, value in sizes.items() if name in families.OTHERS[kind] or hasattr(config(), name)}
    llm = families.write_model(tmp_path / "llm", config(**known))
    tokenizer.save_pretrained(llm)
    model = untrained.checkpoint(tmp_path / "model", llm, f"open_clip:{tiny_open_clip}", version="v1")
    export_checkpoint(str(model), tmp_path / "out")


@pytest.mark.parametrize("kind", ["clip", "siglip", "llm2clip"])
def test_encoders_of_transformers(kind, tiny_clip, tiny_siglip, tiny_llm, tmp_path, monkeypatch, in_this_process):
    """Text towers are left out; an encoder's own code lies in the folder."""
    monkeypatch.setattr(remote_code, "_consent", True)
    made = {"clip": lambda: f"hf:{tiny_clip}", "siglip": lambda: f"hf:{tiny_siglip}"}
    spec = made.get(kind, lambda: tiny_llm2clip.build(tmp_path / "llm2clip"))()
    model = untrained.checkpoint(tmp_path / "model", tiny_llm, spec, version="v1", revision_tokens=3)
    export_checkpoint(str(model), tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as weights:
        assert not [name for name in weights.keys() if "text" in name and "vision_tower" in name]
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir() if path.suffix != ".safetensors")
    assert str(tmp_path) not in written and spec.partition(":")[2] not in written, "no path of this machine"


CASES = {
    "one layer": dict(version="v1", projector="linear"),
    "padded to a square": dict(version="v1", ratio="pad"),
    "views": dict(version="v1", revision_views="2x2:mask", revision_tokens=2),
    "enlarged views that overlap": dict(version="v1", revision_views="2x3:crop:0.25"),
    "captions": dict(version="plain"),
    "another template": dict(version="llava_llama_2"),
    "and another": dict(version="chatml_direct"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_training_may_choose(case, tiny_llm, tiny_open_clip, tmp_path, in_this_process):
    model = untrained.checkpoint(tmp_path / "model", tiny_llm, f"open_clip:{tiny_open_clip}", **CASES[case])
    export_checkpoint(str(model), tmp_path / "out")


@pytest.mark.parametrize("version", ["v1", "llama_3", "chatml_direct", "mistral_instruct", "llava_llama_2"])
def test_conversations_of_several_turns(version, tiny_llm, tiny_open_clip, tmp_path):
    """The exported chat template writes what LLaVA's conversation template does."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from llava.conversation import conv_templates

    from revision_plugin.hosts.prompt_form import named_prompt

    conversation = conv_templates[version].copy()
    conversation.messages = []
    turns = [("user", "<image>\nwhat is it?"), ("assistant", "a dog"), ("user", "and its 'color'?")]
    for role, text in turns:
        conversation.append_message(conversation.roles[role == "assistant"], text)
    conversation.append_message(conversation.roles[1], None)
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    source = named_prompt(conv_templates[version]).jinja(bos="")
    messages = [{"role": role, "content": text} for role, text in turns]
    messages[0]["content"] = [{"type": "text", "text": "what is it?"}, {"type": "image"}]
    rendered = template.from_string(source).render(messages=messages, add_generation_prompt=True)
    assert rendered == conversation.get_prompt()


def test_weights_are_those_of_the_files(tiny_llm, tiny_open_clip, tmp_path):
    """Neither the host's loader nor the exporter rounds them."""
    import torch

    model = untrained.checkpoint(tmp_path / "model", tiny_llm, f"open_clip:{tiny_open_clip}", version="v1")
    export_checkpoint(str(model), tmp_path / "out", check=False)
    with (
        safe_open(model / "model.safetensors", "pt") as before,
        safe_open(tmp_path / "out" / "model.safetensors", "pt") as after,
    ):
        ours = {name.rpartition("language_model.")[2].removeprefix("model."): name for name in after.keys()}
        for name in before.keys():
            if "layers." in name:
                value = after.get_tensor(ours[name.removeprefix("model.")])
                assert torch.equal(before.get_tensor(name), value)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float32"


def test_a_model_that_differs_is_not_written(tiny_llm, tiny_open_clip, tmp_path, monkeypatch, in_this_process):
    model = untrained.checkpoint(tmp_path / "model", tiny_llm, f"open_clip:{tiny_open_clip}", version="v1")
    from revision_plugin.hosts.hf import native_folder

    original = native_folder.native_model

    def changed(*arguments):
        made = original(*arguments)
        made.lm_head.weight.data[7] += 1e-3
        return made

    monkeypatch.setattr(native_folder, "native_model", changed)
    with pytest.raises(RevisionError, match="logits differ by .*; nothing is written"):
        export_checkpoint(str(model), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_what_the_form_cannot_hold(tiny_llm, tiny_open_clip, tmp_path):
    spec = f"open_clip:{tiny_open_clip}"
    deep = untrained.checkpoint(tmp_path / "deep", tiny_llm, spec, version="v1", projector="mlp3x_gelu")
    with pytest.raises(RevisionError, match="projector of type 'mlp3x_gelu'"):
        export_checkpoint(str(deep), tmp_path / "out")
    tiles = untrained.checkpoint(tmp_path / "tiles", tiny_llm, spec, version="v1", ratio="anyres")
    with pytest.raises(RevisionError, match="--image_aspect_ratio anyres"):
        export_checkpoint(str(tiles), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert find_host().load(str(deep)).ask is not None, "the checkpoint itself is whole"


def test_it_is_pushed_whole_and_opens_from_the_hub(hub, tiny_llm, tiny_open_clip, tmp_path, monkeypatch, capsys):
    """The repository is private and holds the folder's files and nothing else."""
    from transformers import AutoModelForImageTextToText

    model = untrained.checkpoint(tmp_path / "model", tiny_llm, f"open_clip:{tiny_open_clip}", version="v1")
    run("export", "--model", model, "--out", tmp_path / "out", "--no-check", "--push", "me/model")
    repository = hub.repositories["model", "me/model"]
    name = f"hf:me/model@{repository.head}"
    assert repository.private and capsys.readouterr().out.strip().endswith(name)
    files = hub.files("model", "me/model")
    assert files.keys() - {".gitattributes"} == {path.name for path in (tmp_path / "out").iterdir()}
    assert b'from_pretrained("me/model", trust_remote_code=True)' in files["README.md"]
    monkeypatch.setattr(remote_code, "_consent", True)
    opened = AutoModelForImageTextToText.from_pretrained("me/model", revision=repository.head, trust_remote_code=True)
    assert type(opened).__name__ == "LlavaForConditionalGeneration"
