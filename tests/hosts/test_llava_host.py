"""The plugin inside LLaVA, in this process: hooks, tokenizers, label masks, data."""

import json
import types

import numpy as np
import pytest
import torch
from conftest import unit_rows, write_store
from label_masks import learned_text

import revision_plugin
from revision_plugin.encoders import load_encoder
from revision_plugin.errors import RevisionError
from revision_plugin.hosts import find_host

IMAGE = -200


@pytest.fixture(scope="module", autouse=True)
def installed():
    revision_plugin.install()


@pytest.fixture
def template():
    """Sets LLaVA's conversation template for one test."""
    import llava.conversation as conversation

    before = conversation.default_conversation

    def use(name):
        conversation.default_conversation = conversation.conv_templates[name]
        return conversation.default_conversation

    yield use
    conversation.default_conversation = before


@pytest.fixture
def tokenizer(tiny_llm):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llm, padding_side="right", model_max_length=2048)
    tokenizer.pad_token = tokenizer.unk_token
    return tokenizer


def byte_tokenizer(special=()):
    """A byte-level tokenizer that adds no BOS, as SmolLM2's and Qwen's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    symbols = ["<unk>", "<bos>", *special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({s: i for i, s in enumerate(symbols)}, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", unk_token="<unk>", pad_token="<unk>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


def test_install_is_idempotent_and_bindings_exist():
    import llava.model.llava_arch as arch
    import llava.train.train as train

    before = (arch.build_vision_tower, train.preprocess, train.ModelArguments)
    revision_plugin.install()
    assert before == (arch.build_vision_tower, train.preprocess, train.ModelArguments)
    find_host().hooks.check()


def test_a_moved_symbol_is_named(monkeypatch):
    import llava.train.train as train

    monkeypatch.delattr(train, "make_supervised_data_module")
    with pytest.raises(RevisionError, match="make_supervised_data_module is not what .* in LLaVA 1.2.2"):
        find_host().hooks.check()


@pytest.mark.parametrize(
    "distribution, installed_version",
    [("llava-torch", "1.1.3"), ("llava-torch", "1.3.0")],
)
def test_unsupported_versions_are_refused(monkeypatch, distribution, installed_version):
    from importlib.metadata import version

    from revision_plugin.hosts.llava import host

    monkeypatch.setattr(host, "version", lambda name: installed_version if name == distribution else version(name))
    with pytest.raises(RevisionError, match=f"{installed_version} is not supported"):
        find_host().check()


def test_other_tower_names_go_to_llava(tiny_clip):
    from llava.model.llava_arch import build_vision_tower
    from llava.model.multimodal_encoder.clip_encoder import CLIPVisionTower

    tower = build_vision_tower(types.SimpleNamespace(vision_tower=str(tiny_clip), mm_vision_select_layer=-2))
    assert type(tower) is CLIPVisionTower
    with pytest.raises(ValueError, match="Unknown vision tower: nonsense"):
        build_vision_tower(types.SimpleNamespace(vision_tower="nonsense"))


def test_checkpoint_with_another_encoder_is_refused(tiny_open_clip):
    from llava.model.llava_arch import build_vision_tower

    identity = load_encoder(f"open_clip:{tiny_open_clip}").identity.to_json()
    record = {"encoder": identity, "tokens": 3, "aligner": None, "conversation": "v1"}
    config = types.SimpleNamespace(mm_vision_tower="revision", revision=record)
    assert build_vision_tower(config, delay_load=True).num_patches == 3
    record["encoder"] = {**identity, "fingerprint": "f" * 64}
    with pytest.raises(RevisionError, match="trained with another encoder than the one there now"):
        build_vision_tower(config)
    record["encoder"] = {"spec": "open_clip:/no/where", "fingerprint": "f" * 64}
    with pytest.raises(RevisionError, match="'open_clip:/no/where' cannot be loaded"):
        build_vision_tower(config)


def test_bos_is_added_where_the_tokenizer_adds_none(tokenizer):
    from llava.mm_utils import tokenizer_image_token

    from revision_plugin.hosts.llava.tokenizers import prepare_tokenizer

    plain = byte_tokenizer()
    assert plain("ab").input_ids[0] != plain.bos_token_id
    prepare_tokenizer(plain, begin=True)
    assert tokenizer_image_token("<image>ab", plain)[:2] == [plain.bos_token_id, IMAGE]
    assert plain("ab").input_ids.count(plain.bos_token_id) == 1
    prepare_tokenizer(plain, begin=True)
    assert plain("ab").input_ids.count(plain.bos_token_id) == 1
    before = tokenizer("a dog").input_ids
    prepare_tokenizer(tokenizer, begin=True)
    assert tokenizer("a dog").input_ids == before


def test_a_tokenizer_without_special_tokens_cannot_be_used():
    from revision_plugin.hosts.llava.tokenizers import prepare_tokenizer

    tokenizer = byte_tokenizer()
    for name in ("pad_token", "bos_token"):
        setattr(tokenizer, name, None)
        tokenizer.init_kwargs.pop(name, None)
    with pytest.raises(RevisionError, match="neither an unk, a pad nor an eos token"):
        prepare_tokenizer(tokenizer, begin=True)


TALK = [
    {"from": "human", "value": "<image>\nwhat color is the background?"},
    {"from": "gpt", "value": "red"},
    {"from": "human", "value": "is there a dog?"},
    {"from": "gpt", "value": "no"},
]
SPECIAL = {
    "llama_3": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "smollm2": ["<|im_start|>", "<|im_end|>"],
}


@pytest.mark.parametrize("name", ["llama_3", "smollm2"])
def test_template_masks_are_exact_and_match_inference(template, name):
    import llava.train.train as train
    from llava.mm_utils import tokenizer_image_token

    from revision_plugin.hosts.llava.tokenizers import prepare_tokenizer

    tokenizer = byte_tokenizer(SPECIAL[name])
    prepare_tokenizer(tokenizer, begin=True)
    conversation = template(name)
    out = train.preprocess([TALK], tokenizer, has_image=True)
    ids, labels = out["input_ids"][0].tolist(), out["labels"][0].tolist()
    assert learned_text(tokenizer, ids, labels) == [f"red{conversation.sep}", f"no{conversation.sep}"]
    prompt = conversation.copy()
    for turn, role in zip(TALK, [0, 1, 0, 1]):
        prompt.append_message(prompt.roles[role], turn["value"])
    assert tokenizer_image_token(prompt.get_prompt(), tokenizer) == ids, "training and inference tokenize alike"


def test_the_v1_masks_of_llava_fit_the_demo_tokenizer(template, tokenizer):
    import llava.train.train as train

    from revision_plugin.hosts.llava.tokenizers import prepare_tokenizer

    template("v1")
    prepare_tokenizer(tokenizer, begin=True)
    out = train.preprocess([[dict(turn) for turn in TALK]], tokenizer, has_image=True)
    ids, labels = out["input_ids"][0].tolist(), out["labels"][0].tolist()
    assert learned_text(tokenizer, [max(i, 0) for i in ids], labels) == ["red</s>", "no</s>"]


def data_arguments(encoder, **values):
    defaults = dict(
        data_path=None,
        image_folder=None,
        revision_store=None,
        revision_image_store=None,
        revision_whole_share=0.0,
        revision_probe=None,
        revision_probe_images=None,
        is_multimodal=True,
        mm_use_im_start_end=False,
        image_aspect_ratio="square",
        image_processor=encoder.image_processor,
    )
    return types.SimpleNamespace(**{**defaults, **values})


@pytest.fixture
def demo():
    return load_encoder("demo")


def test_store_as_training_data(template, tokenizer, demo, rng, tmp_path):
    import llava.train.train as train

    template("plain")
    rows = unit_rows(rng, 4, 192)
    write_store(tmp_path / "s", rows, encoder=demo.identity, texts=["a dog", "a cat", "a fish", "a whale"])
    module = train.make_supervised_data_module(
        tokenizer=tokenizer, data_args=data_arguments(demo, data_path=str(tmp_path / "s"))
    )
    dataset = module["train_dataset"]
    item = dataset[1]
    np.testing.assert_allclose(item["image"].numpy(), rows[1], atol=1e-6)
    assert item["input_ids"][:2].tolist() == [tokenizer.bos_token_id, IMAGE]
    assert learned_text(tokenizer, item["input_ids"].clamp_min(0).tolist(), item["labels"].tolist()) == ["a cat \n"]
    assert dataset.modality_lengths == [2, 2, 2, 2]
    batch = module["data_collator"]([dataset[i] for i in range(4)])
    assert batch["images"].shape == (4, 192) and batch["input_ids"].shape == batch["labels"].shape


def test_json_joined_to_a_store_mixes_images_and_embeddings(template, tokenizer, demo, world_files, rng, tmp_path):
    import llava.train.train as train

    template("v1")
    records = json.loads((world_files / "questions.json").read_text())[:3]
    records[1].pop("image")
    (tmp_path / "mixed.json").write_text(json.dumps(records))
    rows = unit_rows(rng, 3, 192)
    write_store(tmp_path / "s", rows, encoder=demo.identity, ids=[r["id"] for r in records])
    arguments = data_arguments(
        demo,
        data_path=str(tmp_path / "mixed.json"),
        image_folder=str(world_files / "images"),
        revision_store=str(tmp_path / "s"),
    )
    module = train.make_supervised_data_module(tokenizer=tokenizer, data_args=arguments)
    items = [module["train_dataset"][i] for i in range(3)]
    assert [tuple(item["image"].shape) for item in items] == [(3, 64, 64), (192,), (3, 64, 64)]
    from revision_plugin.aligners import ALIGNERS
    from revision_plugin.tower import PseudoVisionTower

    aligner = ALIGNERS.get("none")().fit(rows, rows)
    features = PseudoVisionTower(demo, aligner=aligner)(module["data_collator"](items)["images"])
    assert torch.allclose(features[1, 0], torch.from_numpy(rows[1]).float(), atol=1e-5)
    assert torch.allclose(features[0, 0], demo.encode_pixels(items[0]["image"][None])[0], atol=1e-5)
    write_store(tmp_path / "short", rows[:1], encoder=demo.identity, ids=["other"])
    arguments.revision_store = str(tmp_path / "short")
    with pytest.raises(RevisionError, match=f"neither an image nor an embedding.*'{records[1]['id']}'"):
        train.make_supervised_data_module(tokenizer=tokenizer, data_args=arguments)


def test_a_store_needs_the_plugins_tower_and_its_encoder(template, tokenizer, demo, rng, tmp_path):
    import llava.train.train as train

    template("plain")
    write_store(tmp_path / "s", unit_rows(rng, 4, 192))
    arguments = data_arguments(demo, data_path=str(tmp_path / "s"))
    with pytest.raises(RevisionError, match=r"was made with another encoder \('test' and 'demo'\)"):
        train.make_supervised_data_module(tokenizer=tokenizer, data_args=arguments)
    arguments.image_processor = object()
    with pytest.raises(RevisionError, match="needs --vision_tower revision"):
        train.make_supervised_data_module(tokenizer=tokenizer, data_args=arguments)


def test_a_missing_language_model_is_one_line(tmp_path):
    with pytest.raises(RevisionError, match="no language model there"):
        find_host().train(["--model_name_or_path", str(tmp_path / "none"), "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_the_padding_side_comes_back_when_a_forward_raises(tokenizer):
    from revision_plugin.hosts.llava.inference import LlavaAssistant

    class Broken(torch.nn.Module):
        config = types.SimpleNamespace(tokenizer_padding_side="left")
        device = torch.device("cpu")

        def forward(self, **inputs):
            assert self.config.tokenizer_padding_side == "right"
            raise RuntimeError("out of memory")

    assistant = LlavaAssistant(tokenizer, Broken(), None, "plain")
    with pytest.raises(RuntimeError, match="out of memory"):
        assistant.likelihood(torch.zeros(1, 8), ["a dog"])
    assert assistant.model.config.tokenizer_padding_side == "left"


def test_the_aligner_reaches_the_data_module_without_the_image_processor(
    template, tokenizer, demo, rng, tmp_path, caplog
):
    """Statistics of another domain are warned of in training: the module knows the tower that the flags made."""
    import llava.train.train as train

    from revision_plugin.aligners import ALIGNERS
    from revision_plugin.hosts.llava.training import training
    from revision_plugin.tower import PseudoVisionTower

    template("plain")
    near, far = unit_rows(rng, 400, 192, shift=0.3), unit_rows(rng, 400, 192, shift=-0.3)
    aligner = ALIGNERS.get("realign")().fit(near, unit_rows(rng, 400, 192), encoder=demo.identity)
    write_store(tmp_path / "far", far, encoder=demo.identity)
    before, training.tower = training.tower, PseudoVisionTower(demo, aligner=aligner)
    try:
        train.make_supervised_data_module(
            tokenizer=tokenizer, data_args=data_arguments(demo, data_path=str(tmp_path / "far"))
        )
    finally:
        training.tower = before
    assert "standard errors" in caplog.text and not hasattr(demo.image_processor, "aligner")


def test_a_checkpoint_is_saved_with_the_runs_own_limit(tmp_path, monkeypatch):
    """What is pickled into it is what the command said; older ones go only once the new one is whole."""
    from transformers import Trainer

    from revision_plugin.hosts import run_record
    from revision_plugin.hosts.llava import resume

    saved, rotated = [], []
    monkeypatch.setattr(resume, "uses_plugin", lambda trainer: True)
    monkeypatch.setattr(resume, "is_stage1", lambda trainer: False)
    trainer = types.SimpleNamespace(
        model=torch.nn.Linear(2, 2),
        args=types.SimpleNamespace(save_total_limit=1, should_save=True),
        state=types.SimpleNamespace(global_step=7, best_model_checkpoint=None),
        _get_output_dir=lambda trial: str(tmp_path),
    )
    rotate = resume.rotation_of_whole_ones(lambda self, use_mtime, output_dir: rotated.append(sorted(names())))
    trainer._rotate_checkpoints = lambda **keywords: rotate(trainer, **keywords)

    def names():
        return [path.name for path in (tmp_path / "checkpoint-7").iterdir()]

    def save(self, model, trial):
        (tmp_path / "checkpoint-7").mkdir()
        saved.append(self.args.save_total_limit)
        self._rotate_checkpoints(use_mtime=True, output_dir=str(tmp_path))  # as Trainer's does at its end

    monkeypatch.setattr(Trainer, "_save_checkpoint", save)
    (tmp_path / run_record.RECORD).write_text("{}")
    resume.checkpoint_saver(save)(trainer, None, None)
    assert saved == [1] and rotated == [["revision_complete.json"]]
