import numpy as np
import pytest
import torch
from conftest import unit_rows
from PIL import Image

from revision_plugin.aligners import ALIGNERS
from revision_plugin.corpora.image_views import ImageViews
from revision_plugin.encoders import load_encoder
from revision_plugin.errors import RevisionError
from revision_plugin.tower import PseudoVisionTower
from revision_plugin.visual_batch import IMAGE, TEXT, TEXT_PART, headed, pack


@pytest.fixture
def encoder(tiny_open_clip):
    return load_encoder(f"open_clip:{tiny_open_clip}")


@pytest.fixture
def aligner(rng):
    return ALIGNERS.get("realign")().fit(unit_rows(rng, 200, 20, 0.3), unit_rows(rng, 200, 20, -0.3))


@pytest.fixture
def tower(encoder, aligner):
    tower = PseudoVisionTower(encoder, tokens=4, aligner=aligner)
    tower.load_model()
    return tower


@pytest.fixture
def pixels(encoder, rng):
    image = Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8))
    return encoder.image_processor.preprocess([image, image.rotate(90)])["pixel_values"]


def test_llava_contract(tower):
    assert tower.is_loaded and tower.hidden_size == 20 and tower.num_patches == 4 and tower.num_patches_per_side == 2
    assert tower.dummy_feature.shape == (1, 20)
    assert tower.config.hidden_size == 20 and tower.config.image_size == 32
    assert tower.image_processor.crop_size == {"height": 32, "width": 32}
    tower.to(dtype=torch.bfloat16)
    assert tower.dtype == torch.bfloat16 and tower.device == torch.device("cpu")
    assert not list(tower.parameters()) and not tower.state_dict()


def test_embeddings_are_aligned_and_repeated(tower, aligner, rng):
    x = torch.from_numpy(unit_rows(rng, 3, 20)).float()
    out = tower(x)
    assert out.shape == (3, 4, 20)
    for token in range(4):
        assert torch.equal(out[:, token], aligner(x))


def test_pixels_are_the_embedding_of_the_encoder(tower, encoder, pixels):
    out = tower(pixels)
    assert out.shape == (2, 4, 20)
    assert torch.equal(out[:, 0], encoder.encode_pixels(pixels)) and torch.equal(out[:, 0], out[:, 3])


def test_a_batch_may_mix_both(tower, pixels, rng):
    x = torch.from_numpy(unit_rows(rng, 2, 20)).float()
    mixed = tower(pack([x[0], pixels[0], x[1], pixels[1]]))
    assert mixed.shape == (4, 4, 20)
    assert torch.allclose(mixed[[0, 2]], tower(x), atol=1e-6) and torch.allclose(
        mixed[[1, 3]], tower(pixels), atol=1e-6
    )
    listed = tower([x[0], pixels[0]])
    assert torch.allclose(listed[0][0], mixed[0], atol=1e-6) and torch.allclose(listed[1][0], mixed[1], atol=1e-6)


def test_pack_stacks_equal_shapes(pixels):
    assert torch.equal(pack(list(pixels)), pixels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_host_casts_do_not_reach_the_arithmetic(tower, aligner, pixels, dtype, rng):
    x = torch.from_numpy(unit_rows(rng, 3, 20)).to(dtype)
    tower.to(dtype=dtype)  # as LLaVA casts its tower, on a CPU to float16
    assert tower(x).dtype == dtype
    assert torch.equal(tower(x)[:, 0], aligner(x.float()).to(dtype))
    assert tower(pixels).dtype == torch.float32, "the output has the pixels' dtype, as CLIP's tower"


def test_training_and_gradients_leave_the_tower_alone(tower, rng):
    projector = torch.nn.Linear(20, 5)
    projector(tower(torch.from_numpy(unit_rows(rng, 3, 20)).float())).sum().backward()
    assert projector.weight.grad is not None
    projector(tower(torch.zeros(1, 3, 32, 32))).sum().backward()


def test_bad_input(tower, encoder, rng):
    with pytest.raises(RevisionError, match=r"\[B, 20\] or pixels \[B, 3, 32, 32\], .*got \[2, 21\]"):
        tower(torch.zeros(2, 21))
    with pytest.raises(RevisionError, match="at least 1"):
        PseudoVisionTower(encoder, tokens=0)
    wrong = ALIGNERS.get("none")().fit(unit_rows(rng, 9, 8), unit_rows(rng, 9, 8))
    with pytest.raises(RevisionError, match="8 dimensions, encoder .* gives 20"):
        PseudoVisionTower(encoder, aligner=wrong)
    with pytest.raises(RevisionError, match="without an aligner"):
        PseudoVisionTower(encoder)(torch.ones(1, 20))


VIEWS = ImageViews.parse("2x2:mask")


@pytest.fixture
def part_aligner(rng):
    return ALIGNERS.get("realign")().fit(unit_rows(rng, 200, 20, 0.1), unit_rows(rng, 200, 20, -0.5))


@pytest.fixture
def view_tower(encoder, aligner, part_aligner):
    return PseudoVisionTower(encoder, tokens=2, aligner=aligner, part_aligner=part_aligner, views=VIEWS)


def test_views_of_an_image_are_tokens_one_after_another(view_tower, encoder, rng):
    picture = Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8))
    pixels = view_tower.image_processor.preprocess([picture, picture.rotate(180)])["pixel_values"]
    assert pixels.shape == (2, 5, 3, 32, 32)
    assert torch.equal(pixels[0, 0], encoder.image_processor.preprocess(picture)["pixel_values"][0])
    tokens = view_tower(pixels)
    by_hand = encoder.encode_pixels(encoder.image_processor.preprocess([*VIEWS.cut(picture)])["pixel_values"])
    assert tokens.shape == (2, 10, 20)
    assert torch.allclose(tokens[0], by_hand.repeat_interleave(2, 0), atol=1e-6)
    assert torch.equal(view_tower(pack(list(pixels))), tokens), "as the data loader packs them"
    assert encoder.image_processor.views.count == 1, "the encoder's own preprocessing is as before"


def test_rows_of_every_kind_and_number_in_one_batch(view_tower, aligner, part_aligner, encoder, pixels, rng):
    texts, images = (torch.from_numpy(unit_rows(rng, 3, 20)).float() for _ in range(2))
    views = torch.stack([pixels[0]] * 5)
    items = [
        headed(texts, torch.tensor([TEXT, TEXT_PART, TEXT])),
        headed(images[:2], torch.full((2,), IMAGE)),
        texts[0],
        pixels[1],
        views,
    ]
    packed = pack(items)
    assert [len(rows) for rows in packed] == [3, 2, 1, 1, 5]
    features = view_tower(torch.cat(packed))[:, 0].split([3, 2, 1, 1, 5])  # what LLaVA does with a list
    expected = [
        torch.stack([aligner(texts[:1])[0], part_aligner(texts[1:2])[0], aligner(texts[2:])[0]]),
        images[:2],
        aligner(texts[:1]),
        encoder.encode_pixels(pixels[1:]),
        encoder.encode_pixels(views),
    ]
    for found, wanted in zip(features, expected):
        assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kinds_survive_the_hosts_casts(view_tower, aligner, part_aligner, dtype, rng):
    x = torch.from_numpy(unit_rows(rng, 3, 20)).to(dtype)
    packed = pack([headed(x.float(), torch.tensor([TEXT, TEXT_PART, IMAGE]))])[0].to(dtype)
    found = view_tower(packed)[:, 0]
    wanted = torch.stack(
        [aligner(x[:1])[0], part_aligner(x[1:2])[0], torch.nn.functional.normalize(x[2].float(), dim=0)]
    )
    assert found.dtype == dtype and torch.equal(found, wanted.to(dtype))


def test_parts_without_an_aligner_of_parts(encoder, aligner, rng):
    tower = PseudoVisionTower(encoder, aligner=aligner, views=VIEWS)
    packed = pack([headed(torch.from_numpy(unit_rows(rng, 2, 20)).float(), torch.tensor([TEXT, TEXT_PART]))])
    with pytest.raises(RevisionError, match="parts of texts reached a tower without an aligner of parts"):
        tower(packed[0])
