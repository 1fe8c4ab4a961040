"""The image encoder that an HF-native folder holds: all that asking needs, and training on images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...encoders import Encoder, Identity, ImageProcessor, Tokens
from ...encoders.image_side import ImageSide
from ...errors import RevisionError
from ..native_form import MODULE_FILE


class FolderEncoder(Encoder):
    """The tower of an opened HF-native folder as an encoder, by the `identity` that its training recorded."""

    def __init__(self, vision: Any, processor: Any, identity: Identity):
        super().__init__(identity.spec)
        self._vision, self._processor, self._identity = vision.eval().requires_grad_(False), processor, identity
        self.dim = int(vision.config.hidden_size)
        size = processor.crop_size
        self.image_processor = ImageProcessor(
            self,
            processor._transform(),
            height=size["height"],
            width=size["width"],
            mean=processor.image_mean,
            std=processor.image_std,
        )

    @property
    def fingerprint_parts(self) -> dict:
        raise RevisionError(f"encoder '{self.spec}' is known by its fingerprint alone")

    @property
    def identity(self) -> Identity:
        return self._identity

    def load_model(self) -> nn.Module:
        return self._vision

    def tokenize_texts(self, texts: list[str]) -> Tokens:
        raise RevisionError(
            f"the folder holds the image side of encoder '{self.spec}' alone; give --revision_encoder to encode texts"
        )

    def text_features(self, model: nn.Module, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        raise RevisionError(f"the folder holds the image side of encoder '{self.spec}' alone")

    def image_features(self, model: Any, pixels: torch.Tensor) -> torch.Tensor:
        return model.embed(pixels)

    def image_side(self) -> ImageSide:
        config = self._vision.config
        code: list[Path] = []
        if config.encoder_class:  # whose files lie beside the folder's own module
            code = [each for each in sorted(Path(config.folder).glob("*.py")) if each.name != MODULE_FILE]
        return ImageSide(
            library=config.library,
            config=config.encoder,
            module=self._vision.encoder,
            processor=self._processor.encoder_processor,
            left_out=list(config.left_out),
            encoder_class=config.encoder_class,
            code=code,
        )
