"""A trained checkpoint taken apart, for those who write it in another form: what every host gives of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import nn
from transformers import PretrainedConfig

from ..corpora.image_views import ImageViews
from ..encoders import Encoder
from .prompt_form import PromptForm

LINEAR, MLP = "linear", "mlp2x_gelu"  # LLaVA's names of the projectors that transformers' LLaVA holds
IMAGE_PLACE = -200  # in a prompt's token ids, where the visual tokens come


def embeddings_name(inner: Any) -> str:
    """The name of the weight of a language model's token embeddings."""
    table = inner.get_input_embeddings()
    return f"{next(name for name, part in inner.named_modules() if part is table)}.weight"


@dataclass(frozen=True)
class CheckpointParts:
    """The parts of a loaded checkpoint, as they were trained.

    `text_state` names the weights as transformers' AutoModel of `text_config` does; `head` gives the logits;
    `projector` are the layers between which GELU stands. Visual tokens are divided by `input_scale` behind it. A
    picture is padded to a `square` first where the training did so. `prompt_ids(question)` are the token ids of a
    prompt with `IMAGE_PLACE` in it, `logits(image, question)` float32 [L, vocabulary] of the prompt with that image,
    `pixels(image)` what the tower sees of it, and `ask(images, questions, max_new_tokens)` the answers.
    """

    name: str
    text_config: PretrainedConfig
    text_state: dict[str, torch.Tensor]
    embeddings: str  # which of them are the token embeddings
    head: nn.Module
    projector: list[nn.Linear]
    input_scale: float
    encoder: Encoder
    tokens: int
    views: ImageViews
    square: bool
    tokenizer: Any
    prompt: PromptForm
    ends: list[int]  # tokens that end an answer
    dtype: torch.dtype  # that the weights were saved in
    prompt_ids: Callable[[str | None], list[int]]
    logits: Callable[[Image.Image, str | None], torch.Tensor]
    pixels: Callable[[Image.Image], torch.Tensor]
    ask: Callable[[Sequence[Image.Image], Sequence[str | None], int], list[str]]
    record: dict = field(default_factory=dict)

    @property
    def visual_tokens(self) -> int:
        """How many visual tokens an image becomes."""
        return self.tokens * self.views.count
