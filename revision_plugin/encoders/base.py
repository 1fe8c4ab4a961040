"""The encoder contract: unit-norm text and image embeddings of one shared space."""

from __future__ import annotations

import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from PIL import Image
from torch import nn
from transformers import BatchFeature

from .._common.files import hash_file, hash_json
from ..corpora.image_views import ImageViews
from ..errors import RevisionError
from ..registry import Registry
from .identity import Identity
from .image_side import ImageSide
from .remote_code import require_module_consent

MakeEncoder: TypeAlias = "Callable[[str, str], Encoder]"


@dataclass(frozen=True)
class Scheme:
    """What the first word of a spec stands for: `make(spec, name)` gives the encoder that `SCHEME:NAME` names.

    A module registers one, or the class itself, by an entry point of the group `revision_plugin.encoders`.
    """

    make: MakeEncoder
    needs_name: bool = True
    runs_code: bool = False  # whether the name is that of a module, which is imported


ENCODERS: Registry[Scheme | MakeEncoder] = Registry("encoder")


class ImageProcessor:
    """An encoder's own preprocessing behind the image processor interface that LLaVA uses.

    `transform` maps an RGB PIL image to normalised pixels, float32 [3, height, width]. With several `views` of an
    image each is preprocessed by itself.
    """

    views = ImageViews()

    def __init__(
        self,
        encoder: Encoder,
        transform: Callable[[Image.Image], torch.Tensor],
        *,
        height: int,
        width: int,
        mean: Sequence[float],
        std: Sequence[float],
    ):
        self.encoder, self.transform = encoder, transform
        self.crop_size = {"height": height, "width": width}
        self.size = {"height": height, "width": width}
        self.image_mean, self.image_std = list(mean), list(std)

    def preprocess(self, images, return_tensors: str | None = "pt", **_) -> BatchFeature:
        """RGB PIL image or list of them -> BatchFeature with `pixel_values` float32 [N, 3, H, W], or [N, V, 3, H, W]
        with V views of an image.
        """
        images = images if isinstance(images, (list, tuple)) else [images]
        return BatchFeature({"pixel_values": torch.stack([self._pixels(image) for image in images])})

    __call__ = preprocess

    def _pixels(self, image: Image.Image) -> torch.Tensor:
        """One RGB PIL image -> float32 [3, H, W], or [V, 3, H, W] with V views of it."""
        if self.views.count == 1:
            return self.transform(image)
        return torch.stack([self.transform(view) for view in self.views.cut(image)])

    def with_views(self, views: ImageViews) -> ImageProcessor:
        """This preprocessing of so many views of an image."""
        processor = copy.copy(self)
        processor.views = views
        return processor


@dataclass(frozen=True)
class Tokens:
    """Texts as the text tower takes them: tensors on the CPU, and how many texts were longer than its window."""

    tensors: Mapping[str, torch.Tensor]
    truncated: int = 0


class Encoder(ABC):
    """A frozen dual encoder. Configuration is read at once, weights at the first encode.

    A subclass sets `dim` and `image_processor` and gives its parts in the abstract methods; where the loaded model is
    kept and on which device it runs is this class' business.
    """

    spec: str
    dim: int
    image_processor: ImageProcessor
    code_record: dict[str, str] | None = None  # of an encoder that is a module of the user's: which file it is

    def __init__(self, spec: str):
        self.spec = spec
        self.device = torch.device("cpu")
        self.dtype: torch.dtype | None = None  # None: as the model was loaded
        self._model: nn.Module | None = None

    @property
    @abstractmethod
    def fingerprint_parts(self) -> dict:
        """Everything an embedding depends on, as JSON: hashes of weights and tokenizer, preprocessing, dimension."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over `fingerprint_parts`; equal fingerprints give equal embeddings."""
        return hash_json(self.fingerprint_parts)

    @property
    def identity(self) -> Identity:
        """What names this encoder in stores, aligners and checkpoints."""
        return Identity(self.spec, self.fingerprint)

    @property
    def image_identity(self) -> Identity:
        """`identity` as far as images go: where a model of its own encodes texts, that model need not be there."""
        return self.identity

    @abstractmethod
    def load_model(self) -> nn.Module:
        """Load the model, on any device. Called once."""

    @abstractmethod
    def tokenize_texts(self, texts: list[str]) -> Tokens:
        """The text tower's input for `texts`. Needs no model; called from other threads."""

    @abstractmethod
    def text_features(self, model: nn.Module, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Raw text features [N, dim] of `tokenize_texts`' tensors, which are on the model's device."""

    @abstractmethod
    def image_features(self, model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        """Raw image features [N, dim] of preprocessed pixels [N, 3, H, W] on the model's device, in its dtype."""

    def image_side(self) -> ImageSide:
        """What a model that opens without this package needs of the encoder. Raises RevisionError where it is none of a
        library's.
        """
        raise RevisionError(
            f"encoder '{self.spec}' is a class of its own, which no other software builds; encoders of transformers "
            "and open_clip can be exported"
        )

    @property
    def model(self) -> nn.Module:
        """The loaded model, frozen, on `device` in `dtype`."""
        if self._model is None:
            # weights made in inference mode could not be moved later; and whoever draws random numbers around the first
            # encode, as a training with dropout does, must not see those of weights that are about to be overwritten
            with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
                self._model = self.load_model().eval().requires_grad_(False).to(device=self.device, dtype=self.dtype)
        return self._model

    def to(self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Encoder:
        """Move the model (now or when it is loaded) to a torch device and dtype."""
        self.device = torch.device(device) if device is not None else self.device
        self.dtype = dtype if dtype is not None else self.dtype
        if self._model is not None:
            self._model.to(device=self.device, dtype=self.dtype)
        return self

    def tokenize(self, texts: list[str]) -> Tokens:
        """What `encode_tokens` takes; needs no model, so other threads can run ahead of it."""
        return self.tokenize_texts(texts)

    def encode_tokens(self, tokens: Tokens) -> torch.Tensor:
        """Tokenized texts -> float32 unit-norm embeddings [N, dim] on the encoder's device. Longer texts are cut."""
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            placed = {name: tensor.to(self.device) for name, tensor in tokens.tensors.items()}
            return _unit(self.text_features(self.model, placed))

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        """Texts -> float32 unit-norm embeddings [N, dim] on the encoder's device; `encode_tokens` of `tokenize`."""
        return self.encode_tokens(self.tokenize(texts))

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Preprocessed pixels [N, 3, H, W] -> float32 unit-norm embeddings [N, dim] on the encoder's device."""
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            parameter = next(self.model.parameters())
            return _unit(self.image_features(self.model, pixels.to(parameter.device, parameter.dtype)))


def _unit(features: torch.Tensor) -> torch.Tensor:
    return features.float() / features.float().norm(dim=-1, keepdim=True)


def hash_files(paths: list[Path]) -> dict[str, str]:
    """File name -> SHA-256, for fingerprints."""
    return {path.name: hash_file(path) for path in sorted(paths)}


def load_encoder(spec: str, *, named_by_data: bool = False, code: dict | None = None) -> Encoder:
    """The encoder a spec names: `demo`, `open_clip:ARCH/PRETRAINED`, `open_clip:FOLDER`, `hf:REPO_OR_FOLDER`,
    `llm2clip:VISION?text=LLM`, `python:MODULE:CLASS`, or one that another package registers.

    Where a checkpoint names it and not the user (`named_by_data`), a module is imported by consent alone, and only if
    it is the one whose `code_record` is `code`. Raises RevisionError for an unknown name or files that are missing.
    """
    scheme, _, rest = spec.partition(":")
    if not rest and scheme not in ENCODERS.names():
        folder = Path(spec)
        if folder.is_dir():
            scheme, rest = ("open_clip" if (folder / "open_clip_config.json").is_file() else "hf"), spec
    entry = ENCODERS.get(scheme)
    encoder_scheme = (
        entry if isinstance(entry, Scheme) else Scheme(entry)
    )  # another package may register its class as it is
    if encoder_scheme.needs_name and not rest:
        raise RevisionError(f"encoder '{spec}' names no model; write '{scheme}:NAME'")
    if encoder_scheme.runs_code and named_by_data:
        require_module_consent(spec, rest.partition(":")[0], code)
    return encoder_scheme.make(spec, rest)
