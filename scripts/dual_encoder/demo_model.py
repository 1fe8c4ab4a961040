"""The demo encoder's form: a small CLIP for the embedded world's pictures and captions."""

from __future__ import annotations

from revision_plugin.demo import world
from revision_plugin.demo.tokenizer import vocabulary

EMBEDDING_DIM = 192
CONTEXT_LENGTH = 18
PIXEL_MEAN, PIXEL_STD = 0.5, 0.25


def preprocess_config() -> dict:
    """open_clip's image transform of the demo encoder."""
    return {
        "mean": [PIXEL_MEAN] * 3,
        "std": [PIXEL_STD] * 3,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }


def model_config() -> dict:
    """open_clip's model config of the demo encoder."""
    return {
        "embed_dim": EMBEDDING_DIM,
        "vision_cfg": {"image_size": world.IMAGE_SIZE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": len(vocabulary()),
            "hf_tokenizer_name": "tokenizer.json",
            "width": 128,
            "heads": 4,
            "layers": 2,
        },
    }
