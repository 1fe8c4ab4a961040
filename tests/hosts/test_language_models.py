"""Language models of any type in LLaVA 1.2.2: the class, the logits, both stages, and what is refused."""

import json
import signal

import pytest
import tiny_families as families
import torch
from conftest import evaluate_words, image_flags, run_revision, stage1_flags, train
from interruptions import finish, start, stop_after_checkpoint

import revision_plugin
from revision_plugin.demo import corpus, world
from revision_plugin.errors import RevisionError


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folders of the families' models, made when they are first asked for."""
    made = {}

    def model(name):
        if name not in made:
            made[name] = families.write(tmp_path_factory.mktemp(name) / "llm", families.FAMILIES[name])
        return made[name]

    return model


def wrapped(path):
    """What LLaVA's training loads, as it loads it."""
    revision_plugin.install()
    import llava.train.train as train

    return train.LlavaLlamaForCausalLM.from_pretrained(str(path), cache_dir=None, torch_dtype=None).eval()


def same_answers(path):
    """The largest difference of the logits, with padding, and whether greedy decoding gives the same tokens."""
    import transformers

    stock = transformers.AutoModelForCausalLM.from_pretrained(path, torch_dtype=torch.float32).eval()
    ours = wrapped(path)
    ids = torch.randint(3, stock.config.vocab_size, (2, 40), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 25:] = 0
    with torch.no_grad():
        logits = [model(input_ids=ids, attention_mask=mask).logits[mask.bool()] for model in (stock, ours)]
    assert logits[0].abs().max() > 0.1
    settings = dict(attention_mask=mask[:1], max_new_tokens=8, do_sample=False)
    texts = [model.generate(ids[:1], **settings)[0].tolist() for model in (stock, ours)]
    assert texts[0][40:] == texts[1], "LLaVA's generate gives the new tokens alone"
    return (logits[0] - logits[1]).abs().max().item()


@pytest.mark.parametrize("name", families.FAMILIES)
def test_logits_without_images_are_transformers_own(models, name):
    assert same_answers(models(name)) < 1e-5


@pytest.mark.parametrize("kind", families.OTHERS)
def test_types_of_another_build(kind, tmp_path):
    """Other names of parts, learned positions, scaled embeddings, experts, parallel layers."""
    import transformers

    sizes = {**families.SIZES, **families.OTHERS[kind], "vocab_size": 120}
    sizes |= dict(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    config = transformers.CONFIG_MAPPING[kind]
    known = {name: value for name, value in sizes.items() if name in families.OTHERS[kind] or hasattr(config(), name)}
    assert same_answers(families.write_model(tmp_path, config(**known))) < 1e-5


def test_visual_tokens_enter_as_the_projector_gives_them(tmp_path):
    """Granite multiplies all that it is given by 12, and Gemma 2, on transformers 4, by a root of its width."""
    import transformers

    sizes = dict(families.SIZES, vocab_size=120, embedding_multiplier=12.0)
    ours = wrapped(families.write_model(tmp_path, transformers.GraniteConfig(**sizes)))
    inner, seen = ours.get_model(), []
    inner.layers[0].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    inner.vision_tower = lambda images: images
    inner.get_vision_tower = lambda: inner.vision_tower
    inner.mm_projector = torch.nn.Identity()
    features = torch.rand(1, 3, sizes["hidden_size"])
    ids = torch.tensor([[5, -200, 7]])
    with torch.no_grad():
        ours(input_ids=ids, attention_mask=torch.ones_like(ids), images=features)
    assert torch.allclose(seen[0][0, 1:4], features[0], atol=1e-6)
    assert torch.allclose(seen[0][0, 0], inner.embed_tokens.weight[5] * 12.0, atol=1e-5)


def refused(path, message):
    with pytest.raises(RevisionError, match=message) as error:
        wrapped(path)
    assert "\n" not in str(error.value)


def test_what_is_no_causal_language_model_is_refused(tmp_path):
    import transformers

    for kind, message in (
        ("t5", "type 't5' is no causal language model"),
        ("clip", "type 'clip' is multimodal already"),
        ("gemma3", "type 'gemma3' is multimodal already .*language_model.py"),
        ("llava", "type 'llava' is multimodal already"),
    ):
        (tmp_path / kind).mkdir()
        transformers.CONFIG_MAPPING[kind]().save_pretrained(tmp_path / kind)
        if kind != "llava":  # which LLaVA's oldest checkpoints are called, too
            refused(tmp_path / kind, message)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.json").write_text('{"model_type": "of_tomorrow"}')
    refused(tmp_path / "new", "type 'of_tomorrow': transformers .* has no class for it")
    sizes = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=120)
    config = transformers.BertConfig(**sizes)
    refused(families.write_model(tmp_path / "bert", config), "later tokens change what it says of earlier ones")


WHOLE = ("qwen3", "gemma3", "phi3")  # that take every step of the flow below


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    scenes = world.sample_scenes(2, seed=5, held_out=True, distinct=True)
    return corpus.write_benchmark(scenes, tmp_path_factory.mktemp("benchmark"), seed=5)


def losses(out):
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def same_weights(one, other):
    from safetensors.torch import load_file

    one, other = (load_file(path / "model.safetensors") for path in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("name", families.FAMILIES)
def test_both_stages(name, models, stores, world_files, benchmark, tmp_path):
    """Stage 1 and 2 through LLaVA's train(), asked from the checkpoint; for some also killed, scored and with LoRA."""
    llm = models(name)
    train(tmp_path / "stage1", llm, *stage1_flags(stores))
    image = world_files / "images" / "00000.png"
    words = ("ask", "--model", tmp_path / "stage1", "--base", llm, "--image", image, "--max-new-tokens", 4)
    run_revision(*words)
    projected = ("--pretrain_mm_mlp_adapter", tmp_path / "stage1" / "mm_projector.bin")
    flags = ("--version", "auto", *image_flags(world_files), *projected, "--learning_rate", "1e-3")
    train(tmp_path / "stage2", llm, *flags)
    config = json.loads((tmp_path / "stage2" / "config.json").read_text())
    own = json.loads((llm / "config.json").read_text())["model_type"]
    assert config["model_type"] == f"llava_{own}" and config["revision"]["conversation"] == "auto"
    assert len(config["revision"]["chat_template"]) == 64
    assert losses(tmp_path / "stage2")[-1] < losses(tmp_path / "stage2")[0]
    question = "what color is the background?"
    asked = run_revision("ask", "--model", tmp_path / "stage2", "--image", image, question, "--max-new-tokens", 4)
    assert len(asked.stdout.splitlines()) == 1
    if name not in WHOLE:
        return
    run_revision(*evaluate_words(tmp_path / "stage2", benchmark, tmp_path / "scores"))
    assert list((tmp_path / "scores").rglob("*_samples_revision_demo.jsonl"))
    for out in ("whole", "killed"):
        started = start(tmp_path / out, llm, *flags, steps=40, every=4)
        if out == "killed":
            stop_after_checkpoint(started, tmp_path / out, signal.SIGKILL)
            started = start(tmp_path / out, llm, *flags, steps=40, every=4)
        finish(started, tmp_path / out)
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    lora = ("--lora_enable", "True", "--lora_r", 4, "--lora_alpha", 8, "--mm_projector_lr", 1e-3)
    train(tmp_path / "lora", llm, *flags, *lora)
    run_revision("ask", "--model", tmp_path / "lora", "--base", llm, "--image", image, question, "--max-new-tokens", 4)
