"""`llm2clip:VISION?text=LLM`: a CLIP whose texts a language model reads (LLM2CLIP, Huang et al., 2024).

The vision model brings its own code (image tower and text adapter); the language model needs none, it is read by
`bidirectional`. Each loads when it is first needed: the language model never for images, so never at inference.
"""

from __future__ import annotations

import functools
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer, CLIPImageProcessor

from .._common.files import hash_json
from ..errors import RevisionError
from . import bidirectional, hub, remote_code
from .base import Encoder, Tokens, hash_files
from .hf import processor_transform, transformers_side
from .identity import Identity
from .image_side import ImageSide

UNREAD = "text side not read"  # in place of a fingerprint, where images alone are compared


class Llm2ClipEncoder(Encoder):
    """`VISION` and `LLM` are folders or hub names, from the hub at a commit: NAME@COMMIT."""

    def __init__(self, spec: str, name: str):
        super().__init__(spec)
        vision, _, query = name.partition("?")
        options = dict(urllib.parse.parse_qsl(query))
        self._text_name = options.pop("text", "")
        if not vision or not self._text_name or options:
            raise RevisionError(f"encoder '{spec}': write llm2clip:VISION?text=LLM, each a folder or a hub name")
        self._folder = hub.model_folder(spec, vision)
        self._weights = hub.weight_files(self._folder)
        self._code = remote_code.consented_code(spec, vision, self._folder)
        if not self._code:
            raise RevisionError(f"{self._folder}: brings no code, so no text adapter; LLM2CLIP's vision models do")
        with hub.opening(spec):
            self._config = AutoConfig.from_pretrained(self._folder, trust_remote_code=bool(self._code))
            self.dim = int(self._config.projection_dim)
            self.image_processor = processor_transform(self, self._processor)

    @functools.cached_property
    def _text_folder(self) -> Path:
        return hub.model_folder(self.spec, self._text_name)

    @functools.cached_property  # in both fingerprints
    def _image_parts(self) -> dict:
        return {
            "library": "llm2clip",
            "dim": self.dim,
            "preprocess": self._processor.to_json_string(),
            "weights": sorted(hash_files(self._weights).values()),
            "code": hash_files([*self._code, self._folder / "config.json"]),
        }

    @property
    def fingerprint_parts(self) -> dict:
        folder = self._text_folder
        return {
            **self._image_parts,
            "text_weights": sorted(hash_files(hub.weight_files(folder)).values()),
            "tokenizer": hash_files(hub.tokenizer_files(folder)),
            "pooling": f"mean of {bidirectional.MAX_TOKENS} tokens",
        }

    @functools.cached_property
    def _image_fingerprint(self) -> str:
        return hash_json(self._image_parts)

    @property
    def identity(self) -> Identity:
        return Identity(self.spec, self.fingerprint, self._image_fingerprint)

    @property
    def image_identity(self) -> Identity:
        return Identity(self.spec, UNREAD, self._image_fingerprint)

    def load_model(self) -> nn.Module:
        settings = dict(dtype="float32", trust_remote_code=bool(self._code), output_loading_info=True)
        with hub.opening(self.spec):
            model, loading = AutoModel.from_pretrained(self._folder, **settings)
        hub.require_all_weights(self.spec, loading)
        return model

    @functools.cached_property
    def _language_model(self):
        dtype = self.dtype or "auto"  # an 8B model in float32 would not fit where its own dtype does
        with torch.inference_mode(False), hub.opening(self.spec):
            model, loading = AutoModel.from_pretrained(
                self._text_folder, dtype=dtype, trust_remote_code=False, output_loading_info=True
            )
        hub.require_all_weights(self.spec, loading)
        return model.eval().requires_grad_(False).to(device=self.device)

    def to(self, *, device=None, dtype=None) -> Encoder:
        super().to(device=device, dtype=dtype)
        if "_language_model" in self.__dict__:
            self._language_model.to(device=self.device, dtype=self.dtype)
        return self

    @functools.cached_property
    def _processor(self):
        if (self._folder / "preprocessor_config.json").is_file():
            return AutoImageProcessor.from_pretrained(self._folder, trust_remote_code=bool(self._code))
        size = self._config.vision_config.image_size  # the released models keep CLIP's own preprocessing
        return CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})

    @functools.cached_property
    def _tokenizer(self):
        with hub.opening(self.spec):
            tokenizer = AutoTokenizer.from_pretrained(self._text_folder, trust_remote_code=False)  # it needs none
        bidirectional.prepare_tokenizer(tokenizer)
        return tokenizer

    def tokenize_texts(self, texts: list[str]) -> Tokens:
        return bidirectional.tokenize(self._tokenizer, texts)

    def text_features(self, model: Any, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        states = bidirectional.pooled_states(self._language_model, tokens)
        return model.get_text_features(states.to(next(model.parameters()).dtype))

    def image_features(self, model: Any, pixels: torch.Tensor) -> torch.Tensor:
        return model.get_image_features(pixels)

    def image_side(self) -> ImageSide:
        return transformers_side(self, self._config, self._processor, self._code)
