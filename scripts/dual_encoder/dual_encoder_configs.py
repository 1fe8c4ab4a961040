"""Named set-ups of a contrastive pretraining."""

from __future__ import annotations

from dataclasses import dataclass, field

from revision_plugin.registry import Registry
from scripts.dual_encoder.demo_model import model_config, preprocess_config

CONFIGS: Registry = Registry("dual-encoder config")


@dataclass(frozen=True)
class Config:
    """An open_clip model and how it is trained. Rates and sizes are global: all processes together see `batch` pairs
    a step.
    """

    model: dict
    preprocess: dict = field(default_factory=dict)  # of open_clip's image transform; empty: its defaults
    word_tokenizer: bool = False  # the embedded world's word tokenizer instead of open_clip's
    steps: int = 0
    batch: int = 4096
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    warmup: float = 0.1  # share of the steps
    logit_scale: float = 1 / 0.07
    highest_logit_scale: float = 100.0
    probe: int = 200000
    every: int = 20
    freeze_step: int = 800
    gradient_batches: int = 16


@CONFIGS.register("tinyclip")
def tinyclip() -> Config:
    """TinyCLIP's ViT-B/32 of 40M with a text tower of 19M parameters, as in ReVision's appendix H.1.

    The paper trains on 2M LAION pairs and does not say for how many steps; 2000 are four passes over them.
    """
    model = {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 512, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 6},
    }
    return Config(model=model, steps=2000)


@CONFIGS.register("world")
def world() -> Config:
    """The embedded world's small encoder, for a CPU: figures of minutes, not of the paper's days."""
    return Config(
        model=model_config(),
        preprocess=preprocess_config(),
        word_tokenizer=True,
        steps=600,
        batch=256,
        learning_rate=1.5e-3,
        weight_decay=0.05,
        probe=1500,
        every=10,
        freeze_step=400,
    )
