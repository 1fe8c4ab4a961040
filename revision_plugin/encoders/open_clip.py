"""`open_clip:ARCH/PRETRAINED` and `open_clip:FOLDER` (an open_clip local-dir folder)."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from open_clip.transformer import QuickGELU
from torch import nn

from .._common.files import read_object
from ..errors import RevisionError
from . import hub
from .base import Encoder, ImageProcessor, Tokens, hash_files
from .image_side import ImageSide
from .remote_code import READ_IT, consented_code, is_remote_code_allowed, never_asking

CONFIG = "open_clip_config.json"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


class OpenClipEncoder(Encoder):
    """Any contrastive model of open_clip, through open_clip's own factory, preprocessing and tokenizer."""

    def __init__(self, spec: str, name: str):
        super().__init__(spec)
        self._folder = Path(name) if Path(name).is_dir() else None
        if self._folder:
            self._name, self._pretrained = f"local-dir:{self._folder}", None
            config = read_object(self._folder / CONFIG) if (self._folder / CONFIG).is_file() else {}
            if not isinstance(config.get("model_cfg"), dict):
                raise RevisionError(f"{self._folder}: no {CONFIG} with 'model_cfg', so not an open_clip folder")
            self._config, self._preprocess = config["model_cfg"], config.get("preprocess_cfg", {})
            if not self._weight_files():
                raise RevisionError(f"{self._folder}: holds {CONFIG} but no weights ({', '.join(WEIGHT_SUFFIXES)})")
        else:
            self._name, self._pretrained, self._config, self._preprocess = _known_model(spec, name)
        if not isinstance(self._config.get("text_cfg"), dict):
            raise RevisionError(f"encoder '{spec}' has no text tower; alignment needs both towers")
        self._code = self._consented_code()
        with hub.opening(spec):
            self.dim = int(self._config["embed_dim"])
            self.image_processor = self._processor()
            if self.dim < 1 or not all(self.image_processor.image_std):
                raise RevisionError(f"encoder '{spec}': its {CONFIG} gives no dimension, or pixels without spread")

    def _consented_code(self) -> list[Path]:
        """Code that the text tower or its tokenizer brings, where the user allows it. open_clip hands
        `trust_remote_code` from the config on, and asks on standard input for a model with an `auto_map`.
        """
        text = self._config.get("text_cfg") or {}
        names = [text.get("hf_model_name"), text.get("hf_tokenizer_name"), str(self._folder) if self._folder else None]
        folders = [Path(name) for name in names if isinstance(name, str) and name and Path(name).is_dir()]
        code: list[Path] = []
        for folder in dict.fromkeys(folders):
            code += consented_code(self.spec, str(folder), folder)
        if (text.get("tokenizer_kwargs") or {}).get("trust_remote_code") and not is_remote_code_allowed():
            raise RevisionError(f"encoder '{self.spec}': its {CONFIG} asks for code of a tokenizer's own; {READ_IT}")
        return code

    def _weight_files(self) -> list[Path]:
        if self._folder:
            return [p for p in self._folder.iterdir() if p.suffix in WEIGHT_SUFFIXES]
        if self._pretrained and Path(self._pretrained).is_file():
            return [Path(self._pretrained)]
        tag = get_pretrained_cfg(self._name, self._pretrained)
        try:
            return [Path(download_pretrained(tag))]
        except Exception as error:
            raise RevisionError(
                f"weights of '{self.spec}' cannot be had: {str(error).splitlines()[0]}; give a local folder"
            ) from error

    @property
    def fingerprint_parts(self) -> dict:
        tokenizer = (
            [self._folder / "tokenizer.json"] if self._folder and (self._folder / "tokenizer.json").is_file() else []
        )
        return {
            "library": "open_clip",
            "dim": self.dim,
            "config": json.dumps(self._config, sort_keys=True),
            "preprocess": json.dumps(self._preprocess, sort_keys=True),
            "weights": sorted(hash_files(self._weight_files()).values()),
            "tokenizer": hash_files(tokenizer),
            **({"code": hash_files(self._code)} if self._code else {}),
        }

    def load_model(self) -> nn.Module:
        with hub.opening(self.spec), never_asking():
            return open_clip.create_model(self._name, pretrained=self._pretrained)

    @functools.cached_property
    def _tokenizer(self):
        with hub.opening(self.spec), never_asking():
            return open_clip.get_tokenizer(self._name)

    def image_side(self) -> ImageSide:
        module: Any = self.model.visual
        vision = {**self._config["vision_cfg"], "timm_model_pretrained": False}
        # open_clip decides on this by the weights as well
        quick = any(isinstance(part, QuickGELU) for part in module.modules())
        return ImageSide(
            library="open_clip",
            config={"embed_dim": self.dim, "vision_cfg": vision, "quick_gelu": quick},
            module=module,
            processor=dataclasses.asdict(self._preprocessing()),
        )

    def _preprocessing(self) -> PreprocessCfg:
        size = self._config["vision_cfg"]["image_size"]
        return PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(size=size), self._preprocess))

    def _processor(self) -> ImageProcessor:
        config = self._preprocessing()
        height, width = config.size if isinstance(config.size, (tuple, list)) else (config.size, config.size)
        transform = image_transform_v2(config, is_train=False)
        return ImageProcessor(self, transform, height=height, width=width, mean=config.mean, std=config.std)

    def tokenize_texts(self, texts: list[str]) -> Tokens:
        return Tokens({"text": self._tokenizer(texts)}, self._count_truncated(texts))

    def text_features(self, model: Any, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return model.encode_text(tokens["text"])

    def image_features(self, model: Any, pixels: torch.Tensor) -> torch.Tensor:
        return model.encode_image(pixels)

    def _count_truncated(self, texts: list[str]) -> int:
        window = self._tokenizer.context_length
        inner = getattr(self._tokenizer, "tokenizer", None)
        if inner is not None:
            return sum(len(ids) > window for ids in inner(texts).input_ids)
        if hasattr(self._tokenizer, "encode"):
            return sum(len(self._tokenizer.encode(text)) + 2 > window for text in texts)
        return 0


def _known_model(spec: str, name: str):
    architecture, _, pretrained = name.partition("/")
    config = open_clip.get_model_config(architecture)
    if config is None:
        near = difflib.get_close_matches(architecture, open_clip.list_models(), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "open_clip.list_models() lists the names"
        raise RevisionError(
            f"encoder '{spec}': '{architecture}' is neither a folder nor an open_clip architecture; {hint}"
        )
    if not pretrained:
        tags = ", ".join(list_pretrained_tags_by_model(architecture)) or "none"
        raise RevisionError(
            f"encoder '{spec}' names no weights; write open_clip:{architecture}/TAG_OR_FILE (tags: {tags})"
        )
    tag = get_pretrained_cfg(architecture, pretrained)
    if not tag and not Path(pretrained).is_file():
        tags = ", ".join(list_pretrained_tags_by_model(architecture))
        raise RevisionError(
            f"encoder '{spec}': '{pretrained}' is neither a file nor a tag of {architecture} (tags: {tags})"
        )
    preprocess = {k: v for k, v in (tag or {}).items() if k in ("mean", "std", "interpolation", "resize_mode", "size")}
    return architecture, pretrained, config, preprocess
