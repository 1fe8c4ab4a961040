"""The pseudo-vision tower: embeddings [B, D] or pixels [B, 3, H, W] in, visual tokens [B, T, D] out.

It is a LLaVA vision tower that imports no LLaVA. Embeddings are text embeddings: they are aligned. Pixels go
through the image encoder and are not. Either way one unit-norm vector is repeated to T tokens.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import nn

from .aligners import Aligner
from .encoders import Encoder
from .errors import RevisionError

TOWER_NAME = "revision"  # what --vision_tower calls it
EMBEDDING, PIXELS = 0.0, 1.0


def pack(items: list[torch.Tensor]) -> torch.Tensor:
    """One tensor for a batch whose items are embeddings [D] or pixels [3, H, W].

    Items of one shape are stacked. Otherwise each is flattened, padded and headed by its kind, since hosts
    that take a list of images concatenate it, which mixed shapes do not survive.
    """
    if all(item.shape == items[0].shape for item in items):
        return torch.stack(items)
    width = max(item.numel() for item in items)
    packed = torch.zeros(len(items), 1 + width, dtype=items[0].dtype)
    for row, item in zip(packed, items):
        row[0] = EMBEDDING if item.ndim == 1 else PIXELS
        row[1 : 1 + item.numel()] = item.flatten()
    return packed


class PseudoVisionTower(nn.Module):
    """LLaVA's tower contract around a frozen dual encoder and a fitted aligner.

    The encoder is no submodule: the host's casts, wrapping and checkpoints do not touch it. It runs in the
    host's precision on an accelerator and in float32 on a CPU. Alignment never runs below float32.
    """

    def __init__(self, encoder: Encoder, *, tokens: int = 1, aligner: Aligner | None = None):
        super().__init__()
        if tokens < 1:
            raise RevisionError(f"the number of visual tokens must be at least 1, not {tokens}")
        self._encoder = [encoder]  # in a list, so that nn.Module never registers it
        self.use_aligner(aligner)
        self.num_patches = tokens
        self.is_loaded = False
        self.placement: torch.Tensor
        self.register_buffer("placement", torch.zeros(()), persistent=False)  # follows the host's .to()

    def load_model(self, device_map=None) -> None:
        """Part of the tower contract. The encoder loads its weights when the first pixels come."""
        self.is_loaded = True

    def use_aligner(self, aligner: Aligner | None) -> None:
        """Give the tower another aligner. Raises RevisionError where it fits another encoder."""
        if aligner is not None and aligner.dim != self.hidden_size:
            raise RevisionError(
                f"the aligner maps {aligner.dim} dimensions, encoder '{self.encoder.spec}' gives {self.hidden_size}"
            )
        self.aligner = aligner

    @property
    def encoder(self) -> Encoder:
        return self._encoder[0]

    @property
    def image_processor(self):
        return self.encoder.image_processor

    @property
    def hidden_size(self) -> int:
        return self.encoder.dim

    @property
    def num_patches_per_side(self) -> int:
        return math.isqrt(self.num_patches - 1) + 1

    @property
    def dtype(self) -> torch.dtype:
        return self.placement.dtype

    @property
    def device(self) -> torch.device:
        return self.placement.device

    @property
    def config(self) -> SimpleNamespace:
        size = self.image_processor.crop_size["height"]
        return SimpleNamespace(
            hidden_size=self.hidden_size, image_size=size, patch_size=size // self.num_patches_per_side
        )

    @property
    def dummy_feature(self) -> torch.Tensor:
        return torch.zeros(1, self.hidden_size, device=self.device, dtype=self.dtype)

    @torch.no_grad()
    def forward(self, images: torch.Tensor | list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
        """Embeddings [B, D], pixels [B, 3, H, W], a packed batch, or a list of items -> [B, T, D] in the input's dtype.

        Embeddings may be raw or unit-norm. Raises RevisionError for any other shape.
        """
        if isinstance(images, list):
            return [self._features(image if image.ndim in (2, 4) else image.unsqueeze(0)) for image in images]
        return self._features(images)

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        size = self.image_processor.crop_size
        pixel_count = 3 * size["height"] * size["width"]
        if images.ndim == 4:
            features = self._encode(images)
        elif images.ndim == 2 and images.shape[1] == self.hidden_size:
            features = self._align(images)
        elif images.ndim == 2 and images.shape[1] == 1 + max(self.hidden_size, pixel_count):
            features = self._unpack(images, (3, size["height"], size["width"]))
        else:
            raise RevisionError(
                f"the tower takes embeddings [B, {self.hidden_size}] or pixels [B, 3, {size['height']}, "
                f"{size['width']}], "
                f"got {list(images.shape)}"
            )
        return features.to(images.dtype).unsqueeze(1).expand(-1, self.num_patches, -1)

    def _unpack(self, packed: torch.Tensor, pixel_shape: tuple[int, int, int]) -> torch.Tensor:
        is_pixels = packed[:, 0] == PIXELS
        features = torch.empty(len(packed), self.hidden_size, device=packed.device)
        if is_pixels.any():
            pixels = packed[is_pixels, 1 : 1 + math.prod(pixel_shape)].unflatten(1, pixel_shape)
            features[is_pixels] = self._encode(pixels).float()
        if not is_pixels.all():
            features[~is_pixels] = self._align(packed[~is_pixels, 1 : 1 + self.hidden_size]).float()
        return features

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        dtype = torch.float32 if pixels.device.type == "cpu" else self.dtype
        if (self.encoder.device, self.encoder.dtype) != (pixels.device, dtype):
            self.encoder.to(device=pixels.device, dtype=dtype)
        return self.encoder.encode_pixels(pixels).clone()  # a normal tensor: inference tensors cannot meet autograd

    def _align(self, embeddings: torch.Tensor) -> torch.Tensor:
        if self.aligner is None:
            raise RevisionError(
                "text embeddings reached a tower without an aligner; give --revision_aligner DIR "
                "(for no alignment, an aligner fitted with --method none)"
            )
        return self.aligner(embeddings, training=self.training)
