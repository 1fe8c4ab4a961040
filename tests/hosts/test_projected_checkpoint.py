"""`revision geometry --projected` on checkpoints of every host: what is read of their files is what the model holds."""

import json
import shutil

import pytest
import tiny_families as families
import torch
import untrained
from conftest import refuse, run, stage1_flags, stage2_flags, train, write_store
from safetensors.torch import load_file, save_file

from revision_plugin.aligners import load_aligner
from revision_plugin.embeddings.store import Store
from revision_plugin.errors import RevisionError
from revision_plugin.hosts import find_host, token_table
from revision_plugin.hosts.llava import weights as llava_weights
from revision_plugin.hosts.projected_checkpoint import open_checkpoints
from revision_plugin.hosts.projector_weights import projector_module
from revision_plugin.hosts.token_table import at_first_layer, bare_model, read_table, text_config
from revision_plugin.hosts.weight_files import saved_names

STEPS = ("--save_strategy", "steps", "--save_steps", 2)


def opened(path, stores, **keywords):
    (one,) = open_checkpoints([path], Store.open(stores / "texts"), **keywords)
    return one


def words(stores, out, *paths):
    return (
        "geometry",
        "--source",
        stores / "texts",
        "--target",
        stores / "images",
        "--out",
        out,
        "--projected",
        *paths,
    )


def measured(out):
    return json.loads((out / "metrics.json").read_text())["checkpoints"]


def seen_by_the_first_layer(model, **inputs):
    """The hidden states that a whole model's first layer is given."""
    seen = []
    layers = next(each for each in model.modules() if isinstance(each, torch.nn.ModuleList) and len(each))

    def look(module, arguments, keywords):
        seen.append(arguments[0] if arguments else keywords["hidden_states"])

    handle = layers[0].register_forward_pre_hook(look, with_kwargs=True)
    with torch.no_grad():
        model(**inputs)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("kind", ["llama3", "gemma3", "granite", "gemma2", "gpt2", "opt"])
def test_the_first_layer_is_given_what_is_read(kind, tmp_path):
    """Token embeddings with the factors that families have, and the factor of embeddings given in place of tokens; the
    layers' weights are never there.
    """
    import transformers

    if kind in families.FAMILIES:
        folder = families.write(tmp_path / "llm", families.FAMILIES[kind])
    else:
        sizes = {**families.SIZES, **families.OTHERS[kind], "vocab_size": 40}
        config = transformers.CONFIG_MAPPING[kind]
        known = {name: value for name, value in sizes.items() if hasattr(config(), name)}
        folder = families.write_model(tmp_path / "llm", config(**known))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    bare = bare_model(text_config(json.loads((folder / "config.json").read_text()), "here"), "here")
    assert all(each.is_meta for each in bare.parameters())
    table = read_table(bare, saved_names(folder), "here")
    assert torch.equal(table, model.get_input_embeddings().weight)
    tokens, scale = at_first_layer(bare, table.clone(), "here")
    ids = torch.arange(0, 40, 3)[:, None]
    given = seen_by_the_first_layer(model, input_ids=ids)[:, 0]
    torch.testing.assert_close(given - given[0], tokens[ids[:, 0]] - tokens[0], rtol=1e-4, atol=1e-5)
    visual = torch.randn(2, 1, tokens.shape[1])
    reached = seen_by_the_first_layer(model, inputs_embeds=visual / scale)
    torch.testing.assert_close(reached[0] - reached[1], visual[0] - visual[1], rtol=1e-4, atol=1e-4)
    layers = next(each for each in bare.modules() if isinstance(each, torch.nn.ModuleList))
    assert all(each.is_meta for each in layers.parameters())


def compare(one, model, inner, projector, stores):
    """What `one` loads as, against a model that its host has loaded whole."""
    space = one.load()
    x = torch.from_numpy(Store.open(stores / "texts").span(0, 5))
    with torch.no_grad():
        torch.testing.assert_close(space.projector(x), projector(x), rtol=1e-5, atol=1e-6)
    rows = len(space.tokens)
    torch.testing.assert_close(space.tokens, inner.get_input_embeddings().weight[:rows].detach())
    return rows


@pytest.mark.slow
def test_llavas_stages(stage1, stage2, stores, tiny_llm):
    """Stage 1 without --base, which run.json knows, and with it; Stage 2, whose aligner is that of Stage 1."""
    for path, base in ((stage1, str(tiny_llm)), (stage2, None)):
        model = find_host().load(str(path), base=base).model
        inner = model.get_model()
        one = opened(path, stores)
        assert compare(one, model, inner, inner.mm_projector, stores) == model.config.vocab_size
        assert one.own_aligner and one.aligner.method == "realign" and one.step == 4
    table = opened(stage2, stores).load().tokens
    assert not torch.equal(table, opened(stage1, stores, base=str(tiny_llm)).load().tokens), "Stage 2 trained it"


@pytest.fixture(scope="module")
def steps(stores, tiny_llm, tmp_path_factory):
    """Stage 1 in both hosts, each with two checkpoints on the way."""
    root = tmp_path_factory.mktemp("steps")
    for host in ("llava", "hf"):
        train(root / host, tiny_llm, *stage1_flags(stores), *STEPS, "--host", host)
    return root


@pytest.mark.slow
def test_a_trainings_checkpoints_in_their_order(steps, stores, tmp_path, capsys):
    """Both hosts, whatever order the paths came in: the last step is the finished training, and hosts agree."""
    paths = [steps / host / name for host in ("llava", "hf") for name in (".", "checkpoint-4", "checkpoint-2")]
    run(*words(stores, tmp_path / "out", *paths))
    found = measured(tmp_path / "out")
    names = [f"{host}{step}" for host in ("llava", "hf") for step in ("/checkpoint-2", "", "/checkpoint-4")]
    assert [each["name"] for each in found] == names and [each["step"] for each in found] == [2, 4, 4] * 2
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in printed] == [*names, "report", "page"]
    by_name = {each["name"]: each["metrics"] for each in found}
    for host in ("llava", "hf"):
        last, done = by_name[f"{host}/checkpoint-4"], by_name[host]
        for metric, value in done["aligned"].items():
            assert last["aligned"][metric] == pytest.approx(value, rel=1e-5, abs=1e-6), metric
        first = by_name[f"{host}/checkpoint-2"]["target"]["norm_mean"]
        assert first != pytest.approx(done["target"]["norm_mean"], rel=1e-6), "the projector was trained between"
    for metric, value in by_name["llava"]["source"].items():
        assert by_name["hf"]["source"][metric] == pytest.approx(value, rel=1e-2, abs=1e-3), metric
    assert {each["tokens"] for each in found} == {found[0]["tokens"]}, "the image's row is none of the vocabulary"
    assert all(each["own_aligner"] for each in found)


@pytest.mark.slow
def test_the_other_host_and_its_second_stage(steps, stores, world_files, tiny_llm, tmp_path):
    """An HF-native folder and a step's folder of its Stage 2, whose language model is trained and lies in it."""
    flags = (*stage2_flags(world_files), "--pretrain_mm_mlp_adapter", steps / "hf")
    train(tmp_path / "second", tiny_llm, *flags, *STEPS, "--host", "hf")
    for path in (steps / "hf", tmp_path / "second"):
        model = find_host(model=path).load(str(path)).model
        one = opened(path, stores)
        compare(one, model, model.model.language_model, model.model.multi_modal_projector, stores)
        assert one.own_aligner and one.base is None
    step = opened(tmp_path / "second" / "checkpoint-4", stores)
    assert step.base == tiny_llm, "as run.json says"
    torch.testing.assert_close(step.load().tokens, opened(tmp_path / "second", stores).load().tokens)


@pytest.mark.slow
def test_adapters_over_a_language_model(stage1, stores, world_files, tiny_llm, tmp_path):
    flags = (*stage2_flags(world_files), "--pretrain_mm_mlp_adapter", stage1 / "mm_projector.bin")
    lora = ("--lora_enable", "True", "--lora_r", 4, "--revision_tokens", 2, *STEPS)
    train(tmp_path / "lora", tiny_llm, *flags, *lora)
    model = find_host().load(str(tmp_path / "lora"), base=str(tiny_llm)).model
    one = opened(tmp_path / "lora", stores)
    compare(one, model, model.get_model(), model.get_model().mm_projector, stores)
    step = opened(tmp_path / "lora" / "checkpoint-4", stores)
    x = torch.from_numpy(Store.open(stores / "texts").span(0, 5))
    torch.testing.assert_close(step.load().projector(x), one.load().projector(x))


@pytest.fixture(scope="module")
def whole(stores, tiny_llm, tmp_path_factory):
    """A Stage-2 checkpoint that no training made: no run.json, no step."""
    return untrained.checkpoint(tmp_path_factory.mktemp("whole") / "model", tiny_llm, "demo", version="v1")


def test_a_given_aligner_is_said_to_be_given(whole, stores, tmp_path):
    run(*words(stores, tmp_path / "out", whole), "--aligner", stores / "realign")
    (only,) = measured(tmp_path / "out")
    assert not only["own_aligner"] and only["aligner"] == "realign" and only["step"] is None
    assert "given, not known as the training's" in (tmp_path / "out" / "report.md").read_text()
    gaps = {cloud: only["metrics"][cloud]["gap_at_encoder"] for cloud in ("aligned", "source")}
    assert gaps["aligned"] < gaps["source"] / 4


def copied(whole, place, *left_out):
    shutil.copytree(whole, place, ignore=shutil.ignore_patterns(*left_out))
    return place


def edited(place, **changes):
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, **changes}))
    return config


def test_bad_input_ends_in_one_line(whole, stores, tiny_llm, tmp_path, capsys, rng):
    given = ("--aligner", stores / "realign")

    def line(*paths, flags=given, source=None):
        command = [*words(stores, tmp_path / "out", *paths), *flags]
        if source:
            command[2] = source
        said = refuse(capsys, *command)
        assert not (tmp_path / "out").exists()
        return said

    assert "no such folder; give a checkpoint" in line(tmp_path / "nowhere")
    assert "is no checkpoint" in line(stores / "texts")
    assert "was not trained with --vision_tower revision" in line(tiny_llm)
    assert "called 'model' too" in line(whole, whole)
    assert "no stage of its training that is known had an aligner; give it with --aligner" in line(whole, flags=())
    shutil.copytree(stores / "realign", tmp_path / "second")
    assert "--projected takes one --aligner" in line(whole, flags=(*given, tmp_path / "second"))
    assert "every checkpoint has its language model; leave out --base" in line(
        whole, flags=(*given, "--base", tiny_llm)
    )
    assert "is of the frame U" in line(whole, flags=(*given, "--energy", 0.5))
    other = {"spec": "demo", "fingerprint": "1" * 64}
    write_store(tmp_path / "other", Store.open(stores / "texts").span(0, 30).astype(float), encoder=other)
    assert "was trained with another encoder than" in line(whole, source=tmp_path / "other")
    no_pairs = line(whole, flags=(*given, "--pairs"))
    assert "ids are not in" in no_pairs
    assert "holds no weights" in line(copied(whole, tmp_path / "no-weights", "*.safetensors"))
    alone = copied(whole, tmp_path / "alone", "*.safetensors")
    weights = load_file(whole / "model.safetensors")
    projector = {name: value for name, value in weights.items() if "mm_projector" in name}
    torch.save(projector, alone / "mm_projector.bin")
    assert "no run.json names it; give it with --base" in line(alone)
    assert "no language model there" in line(alone, flags=(*given, "--base", stores))
    assert "not in the hub's cache" in line(alone, flags=(*given, "--base", "nobody/nothing"))
    stranger = families.write(tmp_path / "stranger", families.FAMILIES["llama3"])
    assert "holds other weights than" in line(alone, flags=(*given, "--base", stranger))
    first = next(iter(projector))
    torch.save({**projector, first: projector[first] * torch.nan}, alone / "mm_projector.bin")
    assert "are not finite" in line(alone, flags=(*given, "--base", tiny_llm))
    torch.save({"model.mm_projector.0.weight": projector[first]}, alone / "mm_projector.bin")
    assert "no chain of layers" in line(alone, flags=(*given, "--base", tiny_llm))
    torn = copied(whole, tmp_path / "checkpoint-7")
    assert "was cut short while it was saved" in line(torn)
    headless = copied(whole, tmp_path / "headless", "*.safetensors")
    save_file(
        {name: value for name, value in weights.items() if "embed_tokens" not in name},
        headless / "model.safetensors",
        {"format": "pt"},
    )
    assert "holds no token embeddings" in line(headless)
    strange = copied(whole, tmp_path / "strange")
    edited(strange, model_type="llava_nothing")
    assert "has no class for it" in line(strange)
    narrow = copied(whole, tmp_path / "narrow", "*.safetensors")
    cut = {name: value[:16].contiguous() if "mm_projector.2" in name else value for name, value in weights.items()}
    save_file(cut, narrow / "model.safetensors", {"format": "pt"})
    assert "gives 16 dimensions, the token embeddings have 32" in line(narrow)


def test_flags_that_belong_to_projected(stores, tmp_path, capsys):
    command = ("geometry", "--source", stores / "texts", "--target", stores / "images", "--out", tmp_path / "out")
    assert "give them with --projected" in refuse(capsys, *command, "--base", "somewhere")


def test_an_aligner_that_has_gone_or_changed(whole, stores, tmp_path):
    """run.json says where the training's aligner lay; another one there is not taken for it."""
    model = copied(whole, tmp_path / "model")
    record = edited(model)["revision"]
    run("fit", "--source", stores / "texts", "--target", stores / "images", "--out", tmp_path / "aligner")
    identity = load_aligner(tmp_path / "aligner").identity
    edited(model, revision={**record, "aligner": identity})
    (model / "run.json").write_text(json.dumps({"command": {"--revision_aligner": str(tmp_path / "aligner")}}))
    (model / "trainer_state.json").write_text(json.dumps({"global_step": 12}))
    one = opened(model, stores)
    assert one.own_aligner and one.step == 12
    edited(model, revision={**record, "aligner": {**identity, "hash": "0" * 64}})
    with pytest.raises(RevisionError, match="another aligner than the one at .*; give it with --aligner"):
        opened(model, stores)
    shutil.rmtree(tmp_path / "aligner")
    with pytest.raises(RevisionError, match="its aligner does not open .*; give it with --aligner"):
        opened(model, stores)
    (model / "run.json").write_text(json.dumps({"command": {}}))
    with pytest.raises(RevisionError, match="no run.json says where its aligner lies"):
        opened(model, stores)
    edited(model, revision={**record, "aligner": None})
    (model / "run.json").write_text(json.dumps({"command": {"--pretrain_mm_mlp_adapter": f"{tmp_path}/gone/x.bin"}}))
    with pytest.raises(RevisionError, match="which has gone"):
        opened(model, stores)


def test_parts_take_the_aligner_of_parts(whole, stores, world_files, tmp_path, capsys):
    """Stores of several views are measured one kind at a time, each with the aligner that the training gave it."""
    for kind, corpus, views in (("texts", "texts.json", "clauses"), ("images", "images", "2x2:mask")):
        flags = (f"--{kind}", world_files / corpus, "--views", views, "--out", tmp_path / kind)
        run("encode", "--encoder", "demo", *flags)
    both = ("--source", tmp_path / "texts", "--target", tmp_path / "images")
    run("fit", *both, "--view", "parts", "--out", tmp_path / "parts")
    model = copied(whole, tmp_path / "model")
    record = edited(model)["revision"]
    aligners = {name: load_aligner(place) for name, place in (("", stores / "realign"), ("part_", tmp_path / "parts"))}
    edited(model, revision={**record, **{f"{name}aligner": each.identity for name, each in aligners.items()}})
    flags = {f"--revision_{name}aligner": str(each.path) for name, each in aligners.items()}
    (model / "run.json").write_text(json.dumps({"command": flags}))
    command = words(tmp_path, tmp_path / "out", model)
    assert "choose with --view whole or --view parts" in refuse(capsys, *command)
    assert "is of parts" in refuse(capsys, *command, "--view", "parts", "--aligner", stores / "realign")
    for view, place in (("parts", tmp_path / "parts"), ("whole", stores / "realign")):
        run(*command[:5], "--out", tmp_path / f"out-{view}", "--projected", model, "--view", view)
        (only,) = measured(tmp_path / f"out-{view}")
        assert only["aligner_path"] == str(place) and only["own_aligner"]
        assert f"view `{view}`" in (tmp_path / f"out-{view}" / "report.md").read_text()


def test_layers_that_are_no_projector(rng):
    """One linear layer, and three; not a chain with another form, nor layers that do not fit."""

    def layer(name, rows, columns):
        return {f"{name}weight": torch.randn(rows, columns), f"{name}bias": torch.randn(rows)}

    one = layer("", 6, 4)
    x = torch.randn(3, 4)
    torch.testing.assert_close(projector_module(one, "here")(x), x @ one["weight"].T + one["bias"])
    three = layer("0.", 5, 4) | layer("2.", 5, 5) | layer("4.", 6, 5)
    module = projector_module(three, "here")
    hidden = x
    for name in ("0.", "2."):
        hidden = torch.nn.functional.gelu(hidden @ three[f"{name}weight"].T + three[f"{name}bias"])
    torch.testing.assert_close(module(x), hidden @ three["4.weight"].T + three["4.bias"])
    for wrong in (layer("1.", 6, 4), layer("0.", 5, 4) | layer("3.", 6, 5), {"0.weight": torch.ones(2, 2)}, {}):
        with pytest.raises(RevisionError, match="no chain of layers"):
            projector_module(wrong, "here")
    with pytest.raises(RevisionError, match="has shape"):
        projector_module(layer("0.", 5, 4) | layer("2.", 6, 7), "here")


def test_no_layer_of_a_language_model_is_read(whole, stores, monkeypatch):
    """Of the weights' file the projector and the table alone are taken."""
    read = []
    for module in (llava_weights, token_table):
        inner = module.read_tensor
        monkeypatch.setattr(
            module, "read_tensor", lambda file, name, inner=inner: read.append(name) or inner(file, name)
        )
    opened(whole, stores, aligner=load_aligner(stores / "realign")).load()
    assert {name.partition("model.")[2].split(".")[0] for name in read} == {"mm_projector", "embed_tokens"}
