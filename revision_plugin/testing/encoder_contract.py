"""What every encoder keeps to."""

from __future__ import annotations

import json

import numpy as np
import torch
from PIL import Image

from ..encoders import Encoder

TEXTS = ["a dog", "two cats and a fish on a red background", "the sea"]
SIZES = [(50, 40), (32, 32), (33, 100)]  # width, height


def pictures(seed: int = 0) -> list[Image.Image]:
    """Three RGB pictures of different sizes and shapes."""
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)) for width, height in SIZES]


def check_encoder(encoder: Encoder, images: list[Image.Image] | None = None) -> None:
    """Check a fresh encoder: unit-norm float32 embeddings of its dimension, whatever else is in the batch; its
    identity; that `to` moves it, before and after its model is loaded.

    Raises AssertionError where the contract is broken.
    """
    images = pictures() if images is None else images
    text = encoder.encode_texts(TEXTS)
    pixels = encoder.image_processor.preprocess(images)["pixel_values"]
    size = encoder.image_processor.crop_size
    assert pixels.shape == (len(images), 3, size["height"], size["width"]) and pixels.dtype == torch.float32
    image = encoder.encode_pixels(pixels)
    for rows, count in ((text, len(TEXTS)), (image, len(images))):
        assert rows.shape == (count, encoder.dim) and rows.dtype == torch.float32
        assert (rows.norm(dim=1) - 1).abs().max() < 1e-5, "embeddings have unit norm"
    assert torch.allclose(encoder.encode_texts(TEXTS[1:2]), text[1:2], atol=1e-5), "padding changes an embedding"
    assert torch.allclose(encoder.encode_pixels(pixels[1:2]), image[1:2], atol=1e-5), "a batch changes an embedding"
    assert isinstance(encoder.tokenize(TEXTS).truncated, int)
    json.dumps(encoder.fingerprint_parts)
    assert encoder.identity.spec == encoder.spec and encoder.identity.fingerprint == encoder.fingerprint
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters()), "the model is frozen"
    before = next(encoder.model.parameters()).dtype
    encoder.to(dtype=torch.float64)  # which loses nothing
    assert next(encoder.model.parameters()).dtype == torch.float64, "a loaded model moves"
    assert encoder.encode_pixels(pixels).dtype == torch.float32, "embeddings are float32 in every precision"
    encoder.to(dtype=before)
