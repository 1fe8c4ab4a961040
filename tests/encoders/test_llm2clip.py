"""LLM2CLIP: the language model's pooling against the real LLM2Vec, the two halves, consent, fingerprints."""

import json
import shutil

import pytest
import tiny_llm2clip
import torch
from conftest import ROOT
from test_encoders import check_contract
from tiny_llm2clip import record_llm2vec
from transformers import AutoModel, AutoTokenizer, CLIPImageProcessor

from revision_plugin.encoders import bidirectional, load_encoder, remote_code
from revision_plugin.errors import RevisionError

GOLDEN = json.loads((ROOT / "tests" / "golden" / "llm2vec.json").read_text())


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return tiny_llm2clip.build(tmp_path_factory.mktemp("llm2clip"))


@pytest.fixture
def consent(monkeypatch):
    monkeypatch.setattr(remote_code, "_consent", True)


@pytest.mark.parametrize("name", GOLDEN)
def test_pooling_equals_llm2vec(name, tmp_path):
    record_llm2vec.build(tmp_path, chat=name == "chat")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    bidirectional.prepare_tokenizer(tokenizer)
    model = AutoModel.from_pretrained(tmp_path, dtype="float32").eval()
    batch = bidirectional.tokenize(tokenizer, record_llm2vec.TEXTS)
    tokens = batch.tensors
    with torch.inference_mode():
        rows = bidirectional.pooled_states(model, tokens)
        causal = model(tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
    golden = torch.tensor(GOLDEN[name])
    assert batch.truncated == 1 and (rows - golden).abs().max() < 1e-5
    weights = tokens["pooled"][:, :, None]
    assert ((causal * weights).sum(1) / weights.sum(1) - golden).abs().max() > 0.1, "the causal mask matters here"


def test_embeddings(spec, images, consent):
    """Texts: LLM2Vec's rows through the model's own adapter. Images: the model's own tower on CLIP's preprocessing."""
    encoder = load_encoder(spec)
    check_contract(encoder, images, tiny_llm2clip.DIM)
    model = AutoModel.from_pretrained(encoder._folder, trust_remote_code=True).eval()
    unit = torch.nn.functional.normalize
    with torch.no_grad():
        reference_text = unit(model.get_text_features(torch.tensor(GOLDEN["chat"])), dim=-1)
        processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
        reference_image = unit(model.get_image_features(processor(images, return_tensors="pt")["pixel_values"]), dim=-1)
    assert torch.allclose(encoder.encode_texts(record_llm2vec.TEXTS), reference_text, atol=1e-5)
    pixels = encoder.image_processor.preprocess(images)["pixel_values"]
    assert torch.allclose(encoder.encode_pixels(pixels), reference_image, atol=1e-5)


def test_images_need_no_language_model(spec, images, consent, tmp_path):
    full_encoder = load_encoder(spec)
    full_encoder.encode_pixels(full_encoder.image_processor.preprocess(images)["pixel_values"])
    assert "_language_model" not in full_encoder.__dict__
    shutil.copytree(full_encoder._folder, tmp_path / "vision")
    vision_encoder = load_encoder(f"llm2clip:{tmp_path / 'vision'}?text={tmp_path / 'not-here'}")
    assert vision_encoder.image_identity.is_same(full_encoder.identity, images_only=True)
    with pytest.raises(RevisionError, match="not-here' is no folder"):
        vision_encoder.encode_texts(["a dog"])


def test_lower_precision_is_near(spec, images, consent):
    exact, lower = load_encoder(spec), load_encoder(spec).to(dtype=torch.bfloat16)
    pixels = exact.image_processor.preprocess(images)["pixel_values"]
    for a, b in (
        (exact.encode_texts(record_llm2vec.TEXTS), lower.encode_texts(record_llm2vec.TEXTS)),
        (exact.encode_pixels(pixels), lower.encode_pixels(pixels)),
    ):
        assert b.dtype == torch.float32 and 0 < (a - b).abs().max() and (a * b).sum(1).min() > 0.99


def test_fingerprints_follow_both_models(spec, consent, tmp_path):
    encoder = load_encoder(spec)
    shutil.copytree(encoder._text_folder, tmp_path / "text")
    copy = load_encoder(f"{spec.partition('?')[0]}?text={tmp_path / 'text'}")
    assert copy.fingerprint == encoder.fingerprint
    weights = tmp_path / "text" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    other = load_encoder(copy.spec)
    assert other.fingerprint != encoder.fingerprint and other.image_identity.is_same(encoder.identity, images_only=True)


def test_code_runs_only_by_consent(spec, tmp_path, monkeypatch):
    trap = tmp_path / "ran"
    folder = load_parts(spec, tmp_path)
    with open(folder / "modeling_tiny.py", "a") as code:
        code.write(f"\nopen({str(trap)!r}, 'w')\n")
    for scheme, rest in (("llm2clip", f"{folder}?text=x"), ("hf", folder)):
        with pytest.raises(RevisionError, match=r"brings code of its own \(.*modeling_tiny.*\).*--trust-remote-code"):
            load_encoder(f"{scheme}:{rest}")
    assert not trap.exists()
    monkeypatch.setattr(remote_code, "_consent", True)
    with pytest.raises(RevisionError, match="runs only at a fixed commit; write owner/model@vision"):
        remote_code.require_consent("s", "owner/model@main", folder)
    remote_code.require_consent("s", "owner/model@" + "0" * 40, folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"]["AutoModel"] = "someone/else--modeling_tiny.Tiny"
    (folder / "config.json").write_text(json.dumps(config))
    for name in (str(folder), "owner/model@" + "0" * 40):
        with pytest.raises(RevisionError, match="lies in another repository \\(someone/else\\)"):
            remote_code.require_consent("s", name, folder)


def load_parts(spec, tmp_path):
    folder = tmp_path / "vision"
    shutil.copytree(spec.partition("?")[0].partition(":")[2], folder)
    return folder


@pytest.mark.parametrize("rest", ["VISION", "VISION?llm=x", "?text=x", "VISION?text=x&more=1"])
def test_specs_that_name_no_two_models(spec, rest):
    with pytest.raises(RevisionError, match=r"write llm2clip:VISION\?text=LLM"):
        load_encoder(f"llm2clip:{rest.replace('VISION', spec.partition(':')[2].partition('?')[0])}")


def test_models_that_do_not_fit(spec, tiny_clip, consent, tmp_path):
    with pytest.raises(RevisionError, match="brings no code, so no text adapter"):
        load_encoder(f"llm2clip:{tiny_clip}?text=x")
    folder = load_parts(spec, tmp_path)
    code = folder / "modeling_tiny.py"
    code.write_text("from transformers import NoSuchClass\n" + code.read_text())
    with pytest.raises(RevisionError, match="does not load on transformers .*NoSuchClass"):
        load_encoder(f"llm2clip:{folder}?text=x")
