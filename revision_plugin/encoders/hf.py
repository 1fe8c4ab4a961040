"""`hf:REPO_OR_FOLDER`: CLIP, SigLIP, SigLIP2 and other dual encoders through transformers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

from ..errors import RevisionError
from . import hub, remote_code
from .base import Encoder, ImageProcessor, Tokens, hash_files
from .image_side import ImageSide, unused_by_images

UNSAVED = ("_name_or_path", "auto_map")  # where a model lay, and where its code did


class HuggingFaceEncoder(Encoder):
    """An AutoModel with `get_text_features` and `get_image_features`."""

    def __init__(self, spec: str, name: str):
        super().__init__(spec)
        self._folder = hub.model_folder(spec, name)
        self._code = remote_code.consented_code(spec, name, self._folder)
        with hub.opening(spec):
            self._config = AutoConfig.from_pretrained(self._folder, trust_remote_code=bool(self._code))
            self._processor = AutoImageProcessor.from_pretrained(self._folder, trust_remote_code=bool(self._code))
        text = getattr(self._config, "text_config", None)
        if text is None or not hasattr(self._config, "vision_config"):
            raise RevisionError(f"encoder '{spec}' ({self._config.model_type}) has not both a text and a vision tower")
        if self._config.model_type == "siglip2":
            raise RevisionError(
                f"encoder '{spec}': NaFlex takes patches of any shape, which no MLLM's preprocessing gives; "
                "use a SigLIP 2 of fixed resolution"
            )
        self._siglip = self._config.model_type.startswith("siglip")
        self._weights = hub.weight_files(self._folder)
        with hub.opening(spec):
            self.dim = int(self._config.vision_config.hidden_size if self._siglip else self._config.projection_dim)
            self.context_length = int(text.max_position_embeddings)
            self.image_processor = processor_transform(self, self._processor)

    @property
    def fingerprint_parts(self) -> dict:
        return {
            "library": "transformers",
            "model_type": self._config.model_type,
            "dim": self.dim,
            "preprocess": self._processor.to_json_string(),
            "weights": sorted(hash_files(self._weights).values()),
            "tokenizer": hash_files(hub.tokenizer_files(self._folder)),
            **({"code": hash_files(self._code)} if self._code else {}),
        }

    def load_model(self) -> nn.Module:
        settings = dict(dtype="float32", trust_remote_code=bool(self._code), output_loading_info=True)
        with hub.opening(self.spec):
            model, loading = AutoModel.from_pretrained(self._folder, **settings)
        hub.require_all_weights(self.spec, loading)
        return model

    @functools.cached_property
    def _tokenizer(self):
        with hub.opening(self.spec):
            return AutoTokenizer.from_pretrained(self._folder, trust_remote_code=bool(self._code))

    def tokenize_texts(self, texts: list[str]) -> Tokens:
        lengths = [len(ids) for ids in self._tokenizer(texts, truncation=False, verbose=False).input_ids]
        # SigLIP was trained on texts padded to its window without an attention mask.
        tokens = self._tokenizer(
            texts,
            padding="max_length" if self._siglip else True,
            truncation=True,
            max_length=self.context_length,
            return_tensors="pt",
        )
        names = ("input_ids",) if self._siglip else tuple(tokens)
        truncated = sum(length > self.context_length for length in lengths)
        return Tokens({name: tokens[name] for name in names}, truncated)

    def text_features(self, model: Any, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return _pooled(model.get_text_features(**tokens))

    def image_features(self, model: Any, pixels: torch.Tensor) -> torch.Tensor:
        return _pooled(model.get_image_features(pixel_values=pixels))

    def image_side(self) -> ImageSide:
        return transformers_side(self, self._config, self._processor, self._code)


def transformers_side(encoder: Encoder, config, processor, code: list[Path]) -> ImageSide:
    """The image side of an encoder that transformers loads. Raises RevisionError for preprocessing by code that the
    model brings.
    """
    settings = processor.to_dict()
    kind = settings.get("image_processor_type", type(processor).__name__)
    if not hasattr(transformers, kind):
        raise RevisionError(
            f"encoder '{encoder.spec}': its preprocessing ({kind}) is code of its own; it cannot be exported"
        )
    size, model = encoder.image_processor.crop_size, encoder.model
    pixels = torch.zeros(1, 3, size["height"], size["width"])
    pixels = pixels.to(next(model.parameters()))
    with torch.inference_mode(False):
        left_out = unused_by_images(model, lambda each: encoder.image_features(model, each), pixels)
    target = (getattr(config, "auto_map", None) or {}).get("AutoModel") if code else None
    return ImageSide(
        library="transformers",
        config={name: value for name, value in config.to_dict().items() if name not in UNSAVED},
        module=model,
        processor={**settings, "image_processor_type": kind},
        left_out=left_out,
        encoder_class=target,
        code=code,
    )


def processor_transform(encoder: Encoder, processor) -> ImageProcessor:
    """A transformers image processor as the encoder's own."""
    size = dict(getattr(processor, "crop_size", None) or processor.size)
    height = size.get("height") or size["shortest_edge"]
    width = size.get("width") or size["shortest_edge"]

    def transform(image) -> torch.Tensor:
        # said, since a picture of three pixels' height looks like one with its channels first
        return processor(image, return_tensors="pt", input_data_format="channels_last")["pixel_values"][0]

    mean, std = processor.image_mean, processor.image_std
    return ImageProcessor(encoder, transform, height=height, width=width, mean=mean, std=std)


def _pooled(output):
    """transformers 4 returns the features, 5 an output object that holds them."""
    return output if hasattr(output, "shape") else output.pooler_output
