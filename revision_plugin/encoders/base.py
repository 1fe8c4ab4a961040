"""The encoder contract: unit-norm text and image embeddings of one shared space."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from .._common.files import hash_file, hash_json
from ..errors import RevisionError
from ..registry import Registry

ENCODERS: Registry[Callable[[str, str], Encoder]] = Registry("encoder")


class ImageProcessor:
    """An encoder's own preprocessing behind the image processor interface that LLaVA uses."""

    def __init__(self, encoder: Encoder, transform: Callable, *, height: int, width: int, mean, std):
        self.encoder, self.transform = encoder, transform
        self.crop_size = {"height": height, "width": width}
        self.size = {"height": height, "width": width}
        self.image_mean, self.image_std = list(mean), list(std)

    def preprocess(self, images, return_tensors: str | None = "pt", **_):
        """RGB PIL image or list of them -> BatchFeature with `pixel_values` float32 [N, 3, H, W]."""
        import torch
        from transformers import BatchFeature

        images = images if isinstance(images, (list, tuple)) else [images]
        return BatchFeature({"pixel_values": torch.stack([self.transform(image) for image in images])})

    __call__ = preprocess


class Encoder(ABC):
    """A frozen dual encoder. Configuration is read at once, weights at the first encode."""

    spec: str
    dim: int
    image_processor: ImageProcessor

    def __init__(self, spec: str):
        self.spec = spec
        self.device, self.dtype = "cpu", None
        self.truncated = 0

    @property
    @abstractmethod
    def fingerprint_parts(self) -> dict:
        """Everything an embedding depends on: hashes of weights and tokenizer, preprocessing, dimension."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over `fingerprint_parts`; equal fingerprints give equal embeddings."""
        return hash_json(self.fingerprint_parts)

    @property
    def identity(self) -> dict:
        """`spec` and `fingerprint`; `image_fingerprint` too where a model of its own encodes texts and may be absent."""
        return {"spec": self.spec, "fingerprint": self.fingerprint}

    @abstractmethod
    def _model(self):
        """The loaded model on `self.device` in `self.dtype`."""

    @abstractmethod
    def _tokenize(self, texts: list[str]) -> tuple[dict, int]:
        """The text tower's input tensors on the CPU, and how many texts were longer than its window."""

    @abstractmethod
    def _text_features(self, tokens: dict):
        """Raw text features [N, dim] of `_tokenize`'s tensors on the encoder's device."""

    @abstractmethod
    def _image_features(self, pixels):
        """Raw image features [N, dim] of preprocessed pixels in the model's dtype."""

    def to(self, *, device=None, dtype=None) -> Encoder:
        """Move the model (now or when it is loaded) to a torch device and dtype."""
        self.device = device if device is not None else self.device
        self.dtype = dtype if dtype is not None else self.dtype
        if "_loaded" in self.__dict__:
            self._loaded.to(device=self.device, dtype=self.dtype)
        return self

    def tokenize(self, texts: list[str]) -> tuple[dict, int]:
        """What `encode_tokens` takes; needs no model, so other threads can run ahead of it."""
        return self._tokenize(texts)

    def encode_tokens(self, tokens: tuple[dict, int]):
        """Tokenized texts -> float32 unit-norm embeddings [N, dim] on the encoder's device.

        Text beyond the encoder's window is cut; `truncated` counts such texts.
        """
        import torch

        tensors, cut = tokens
        self.truncated += cut
        with torch.inference_mode(), torch.autocast(torch.device(self.device).type, enabled=False):
            return _unit(self._text_features({name: tensor.to(self.device) for name, tensor in tensors.items()}))

    def encode_texts(self, texts: list[str]):
        """Texts -> float32 unit-norm embeddings [N, dim] on the encoder's device; `encode_tokens` of `tokenize`."""
        return self.encode_tokens(self.tokenize(texts))

    def encode_pixels(self, pixels):
        """Preprocessed pixels [N, 3, H, W] -> float32 unit-norm embeddings [N, dim] on the encoder's device."""
        import torch

        with torch.inference_mode(), torch.autocast(torch.device(self.device).type, enabled=False):
            model = self._model()
            parameter = next(model.parameters())
            return _unit(self._image_features(pixels.to(parameter.device, parameter.dtype)))


def _unit(features):
    return features.float() / features.float().norm(dim=-1, keepdim=True)


def hash_files(paths: list[Path]) -> dict[str, str]:
    """File name -> SHA-256, for fingerprints."""
    return {path.name: hash_file(path) for path in sorted(paths)}


def load_encoder(spec: str) -> Encoder:
    """The encoder a spec names: `demo`, `open_clip:ARCH/PRETRAINED`, `open_clip:FOLDER`, `hf:REPO_OR_FOLDER`,
    `llm2clip:VISION?text=LLM`, `python:MODULE:CLASS`.

    Raises RevisionError for an unknown name or files that are missing.
    """
    scheme, _, rest = spec.partition(":")
    if not rest and scheme not in ENCODERS.names():
        folder = Path(spec)
        if folder.is_dir():
            scheme, rest = ("open_clip" if (folder / "open_clip_config.json").is_file() else "hf"), spec
    if not rest and scheme in ("open_clip", "hf", "llm2clip", "python"):
        raise RevisionError(f"encoder '{spec}' names no model; write '{scheme}:NAME'")
    return ENCODERS.get(scheme)(spec, rest)
