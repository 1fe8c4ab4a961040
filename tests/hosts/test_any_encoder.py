"""The whole flow, swapped by one flag: encode, fit, Stage 1, Stage 2, ask; for every kind of encoder."""

import json

import pytest
import tiny_llm2clip
import torch
from conftest import STAGE1, evaluate_words, projector, run_revision, stage2_flags, train
from PIL import Image

from revision_plugin.cli import main
from revision_plugin.demo import corpus, world
from revision_plugin.encoders import load_encoder, remote_code

pytestmark = pytest.mark.slow
KINDS = ("open_clip", "siglip", "llm2clip")


@pytest.fixture
def spec(kind, tiny_open_clip, tiny_siglip, tiny_clip, tmp_path):
    if kind == "llm2clip":
        return tiny_llm2clip.build(tmp_path / "llm2clip")
    return {"open_clip": f"open_clip:{tiny_open_clip}", "siglip": f"hf:{tiny_siglip}", "clip": f"hf:{tiny_clip}"}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_flow(kind, spec, world_files, tiny_llm, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_code, "_consent", False)
    remote = kind == "llm2clip"
    trust, trusted = (["--trust-remote-code"], ["--revision_trust_remote_code", "True"]) if remote else ([], [])
    for source, files in (("--texts", "texts.json"), ("--images", "images")):
        main(["encode", "--encoder", spec, source, str(world_files / files), "--out", str(tmp_path / files), *trust])
    texts, images, aligner = tmp_path / "texts.json", tmp_path / "images", tmp_path / "realign"
    main(["fit", "--source", str(texts), "--target", str(images), "--out", str(aligner)])
    tower = ("--vision_tower", "revision", "--revision_encoder", spec, *trusted)
    stage1, stage2 = tmp_path / "stage1", tmp_path / "stage2"
    train(stage1, tiny_llm, *STAGE1, "--data_path", texts, "--revision_aligner", aligner, tower=tower)
    dim = load_encoder(spec).dim
    assert projector(stage1)["model.mm_projector.0.weight"].shape == (32, dim)
    train(
        stage2,
        tiny_llm,
        *stage2_flags(world_files),
        "--pretrain_mm_mlp_adapter",
        stage1 / "mm_projector.bin",
        tower=tower,
    )
    record = json.loads((stage2 / "config.json").read_text())["revision"]["encoder"]
    assert record == load_encoder(spec).identity.to_json()
    if remote:
        (tmp_path / "llm2clip" / "text").rename(tmp_path / "gone")
    picture = world_files / "images" / "00000.png"
    ask_command = ("ask", "--model", stage2, "--image", picture, "is there a dog?", "--max-new-tokens", 5)
    run_revision(*ask_command, *trust)
    if remote:
        assert "give --trust-remote-code to run it" in run_revision(*ask_command, expect=2).stderr
        benchmark = corpus.write_benchmark(
            world.sample_scenes(2, seed=5, held_out=True), tmp_path / "benchmark", seed=5
        )
        evaluated = run_revision(*evaluate_words(stage2, benchmark, tmp_path / "scores"), *trust)
        assert "revision_demo: accuracy " in evaluated.stdout


@pytest.mark.parametrize("kind", (*KINDS, "clip"))
def test_llava_gives_the_pixels_of_the_encoder(kind, spec, world_files, monkeypatch):
    """Through LLaVA's preprocessing, the tower's embeddings are the encoder's own."""
    from llava.mm_utils import process_images

    from revision_plugin.tower import PseudoVisionTower

    monkeypatch.setattr(remote_code, "_consent", True)
    encoder = load_encoder(spec)
    images = [Image.open(world_files / "images" / f"{i:05}.png").convert("RGB").resize((50, 40)) for i in range(3)]
    reference_pixels = encoder.image_processor.preprocess(images)["pixel_values"]
    pixels = process_images(images, encoder.image_processor, type("Config", (), {"image_aspect_ratio": None}))
    assert torch.equal(pixels, reference_pixels)
    tower = PseudoVisionTower(encoder, tokens=2)
    tower.load_model()
    assert torch.allclose(
        tower(pixels), encoder.encode_pixels(reference_pixels)[:, None, :].expand(-1, 2, -1), atol=1e-6
    )
