import json
import shutil

import pytest
import torch
from PIL import Image

from revision_plugin.demo import world
from revision_plugin.encoders import ENCODERS, load_encoder
from revision_plugin.errors import RevisionError
from revision_plugin.testing import check_encoder

TEXTS = ["a dog top-left on a red background", "a cat", "a fish and a whale bottom-right"]


def features(output):
    """What transformers 4 returns, and what 5 returns wrapped."""
    return getattr(output, "pooler_output", output)


def check_contract(encoder, images, dim):
    """The contract, and the embeddings of TEXTS and `images`."""
    check_encoder(encoder, images)
    assert encoder.dim == dim
    return encoder.encode_texts(TEXTS), encoder.encode_pixels(
        encoder.image_processor.preprocess(images)["pixel_values"]
    )


def test_hf_clip_equals_transformers(tiny_clip, images):
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    text, image = check_contract(load_encoder(f"hf:{tiny_clip}"), images, 24)
    model = CLIPModel.from_pretrained(tiny_clip).eval()
    tokens = AutoTokenizer.from_pretrained(tiny_clip)(
        TEXTS, padding=True, truncation=True, max_length=16, return_tensors="pt"
    )
    pixels = AutoImageProcessor.from_pretrained(tiny_clip)(images, return_tensors="pt")
    with torch.no_grad():
        reference_text = torch.nn.functional.normalize(features(model.get_text_features(**tokens)), dim=-1)
        reference_image = torch.nn.functional.normalize(features(model.get_image_features(**pixels)), dim=-1)
    assert torch.allclose(text, reference_text, atol=1e-5) and torch.allclose(image, reference_image, atol=1e-5)


def test_hf_siglip_equals_transformers(tiny_siglip, images):
    """SigLIP's texts fill its window and carry no attention mask; its pixels are squashed and scaled to [-1, 1]."""
    from transformers import AutoTokenizer, SiglipImageProcessor, SiglipModel

    text, image = check_contract(load_encoder(f"hf:{tiny_siglip}"), images, 36)
    model = SiglipModel.from_pretrained(tiny_siglip).eval()
    tokens = AutoTokenizer.from_pretrained(tiny_siglip)(
        TEXTS, padding="max_length", truncation=True, max_length=16, return_tensors="pt"
    )
    pixels = SiglipImageProcessor(size={"height": 32, "width": 32})(images, return_tensors="pt")
    with torch.no_grad():
        reference_text = torch.nn.functional.normalize(
            features(model.get_text_features(input_ids=tokens.input_ids)), dim=-1
        )
        reference_image = torch.nn.functional.normalize(features(model.get_image_features(**pixels)), dim=-1)
    assert torch.allclose(text, reference_text, atol=1e-5) and torch.allclose(image, reference_image, atol=1e-5)


def test_naflex_is_refused(tiny_siglip, tmp_path):
    copy = tmp_path / "naflex"
    shutil.copytree(tiny_siglip, copy)
    config = json.loads((copy / "config.json").read_text())
    config["model_type"] = "siglip2"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(RevisionError, match="NaFlex.*fixed resolution"):
        load_encoder(f"hf:{copy}")


def test_open_clip_equals_open_clip(tiny_open_clip, images):
    import open_clip

    text, image = check_contract(load_encoder(f"open_clip:{tiny_open_clip}"), images, 20)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_open_clip}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tiny_open_clip}")
    with torch.no_grad():
        reference_text = model.eval().encode_text(tokenizer(TEXTS), normalize=True)
        reference_image = model.encode_image(torch.stack([preprocess(i) for i in images]), normalize=True)
    assert torch.allclose(text, reference_text, atol=1e-5) and torch.allclose(image, reference_image, atol=1e-5)


def test_open_clip_architecture_with_a_weight_file(tmp_path):
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model("RN50", pretrained=None)
    torch.save(model.state_dict(), tmp_path / "rn50.pt")
    encoder = load_encoder(f"open_clip:RN50/{tmp_path / 'rn50.pt'}")
    assert encoder.dim == 1024
    with torch.no_grad():
        reference = model.eval().encode_text(open_clip.get_tokenizer("RN50")(["a dog"]), normalize=True)
    assert torch.allclose(encoder.encode_texts(["a dog"]), reference, atol=1e-5)
    assert encoder.image_processor.crop_size == {"height": 224, "width": 224}


def test_a_bare_folder_is_recognised(tiny_clip, tiny_open_clip):
    assert load_encoder(str(tiny_clip)).dim == 24
    assert load_encoder(str(tiny_open_clip)).dim == 20


def test_demo_encoder_retrieves_held_out_scenes():
    encoder = load_encoder("demo")
    scenes = world.sample_scenes(256, seed=11, held_out=True, distinct=True)
    pictures = [Image.fromarray(p) for p in world.render_all(scenes, seed=11)]
    image = encoder.encode_pixels(encoder.image_processor.preprocess(pictures)["pixel_values"])
    text = encoder.encode_texts([world.caption(s) for s in scenes])
    similarity = image @ text.T
    assert ((similarity > similarity.diagonal()[:, None]).sum(1) == 0).float().mean() >= 0.85
    assert (image.mean(0) - text.mean(0)).norm() >= 0.35


def test_fingerprint_follows_the_content_not_the_place(tiny_open_clip, tmp_path):
    original = load_encoder(f"open_clip:{tiny_open_clip}").fingerprint
    copy = tmp_path / "copy"
    shutil.copytree(tiny_open_clip, copy)
    assert load_encoder(f"open_clip:{copy}").fingerprint == original
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.5, 0.5, 0.5]
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    assert load_encoder(f"open_clip:{copy}").fingerprint != original


def test_long_text_is_cut_and_counted(tiny_clip, tiny_open_clip):
    for spec in (f"hf:{tiny_clip}", f"open_clip:{tiny_open_clip}"):
        encoder = load_encoder(spec)
        for _ in range(2):  # a count of these texts, not of all that came before
            assert encoder.tokenize(["a dog", "a dog " * 50]).truncated == 1


@pytest.mark.parametrize(
    "spec, message",
    [
        ("open_clp:x/y", "did you mean 'open_clip'"),
        ("open_clip", "names no model"),
        ("demo2", "unknown encoder 'demo2'"),
        ("open_clip:ViT-L-41/openai", "ViT-L-14"),
        ("open_clip:ViT-B-32", "names no weights.*openai"),
        ("open_clip:ViT-B-32/opnai", "neither a file nor a tag.*openai"),
        ("hf:no/such-model-anywhere", "no folder and cannot be had"),
    ],
)
def test_unknown_encoders(spec, message):
    with pytest.raises(RevisionError, match=message):
        load_encoder(spec)


def test_incomplete_folders(tiny_clip, tiny_open_clip, tmp_path):
    for source, scheme in ((tiny_clip, "hf"), (tiny_open_clip, "open_clip")):
        copy = tmp_path / scheme
        shutil.copytree(source, copy)
        for file in copy.glob("*.safetensors"):
            file.unlink()
        with pytest.raises(RevisionError, match="no weights"):
            load_encoder(f"{scheme}:{copy}")
    with pytest.raises(RevisionError, match="not an open_clip folder"):
        load_encoder(f"open_clip:{tmp_path}")


def test_half_downloaded_folders(tiny_clip, tmp_path):
    cut, sharded = tmp_path / "cut", tmp_path / "sharded"
    shutil.copytree(tiny_clip, cut)
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(RevisionError, match="model.safetensors: is cut or damaged"):
        load_encoder(f"hf:{cut}")
    shutil.copytree(tiny_clip, sharded)
    (sharded / "model.safetensors").rename(sharded / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(RevisionError, match="model-00002-of-00002.safetensors of .* is missing"):
        load_encoder(f"hf:{sharded}")


def docs_blocks(kind):
    import re

    from conftest import ROOT

    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / "docs" / "encoders.md").read_text(), re.S)


def test_the_example_encoder_of_the_docs(tmp_path, world_files, images, monkeypatch):
    """The class of docs/encoders.md, through the commands there and by the contract."""
    from revision_plugin.aligners import load_aligner
    from revision_plugin.cli import main

    (module,), (_, commands) = docs_blocks("python"), docs_blocks("bash")
    (tmp_path / "my_encoder.py").write_text(module)
    shutil.copy(world_files / "texts.json", tmp_path)
    shutil.copytree(world_files / "images", tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    check_contract(load_encoder("python:my_encoder:MyEncoder"), images, 16)
    for line in commands.strip().splitlines():
        main(line.split()[1:])
    assert load_aligner(tmp_path / "aligner").dim == 16


@pytest.mark.parametrize(
    "spec, message",
    [
        ("python", "names no model"),
        ("python:nothing", "write python:PACKAGE.MODULE:CLASS"),
        ("python:no_such_module:X", "does not import"),
        ("python:json:JSONDecoder", "subclasses revision_plugin.encoders.Encoder"),
        ("python:revision_plugin.encoders.base:Encoder", "of the encoder contract"),
    ],
)
def test_an_invalid_custom_encoder(spec, message):
    with pytest.raises(RevisionError, match=message):
        load_encoder(spec)


def test_an_encoder_of_another_package(tmp_path, monkeypatch):
    """Registered by an entry point; a name that its scheme needs is asked for."""
    (tmp_path / "other_encoder.py").write_text(
        "from revision_plugin.encoders.open_clip import OpenClipEncoder\n"
        "def other(spec, name): return OpenClipEncoder(spec, name)\n"
    )
    (tmp_path / "other_encoder-1.dist-info").mkdir()
    (tmp_path / "other_encoder-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: other-encoder\n")
    points = "[revision_plugin.encoders]\nother = other_encoder:other\nbroken = other_encoder:missing\n"
    (tmp_path / "other_encoder-1.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ENCODERS, "_entries", dict(ENCODERS._entries))
    assert load_encoder(f"other:{world.ASSETS / 'encoder'}").dim == load_encoder("demo").dim
    with pytest.raises(RevisionError, match="encoder 'other' names no model; write 'other:NAME'"):
        load_encoder("other")
    with pytest.raises(RevisionError, match="encoder 'broken' of the installed package 'other_encoder' does not load"):
        load_encoder("broken:x")
