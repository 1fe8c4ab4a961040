"""The pseudo-vision tower: embeddings [B, D] or pixels [B, 3, H, W] in, visual tokens [B, T, D] out.

It is a LLaVA vision tower that imports no LLaVA. Text embeddings are aligned. Pixels go through the image encoder and
are not. Either way one unit-norm vector is repeated to T tokens; an image of V views gives V vectors.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import nn

from .aligners import Aligner
from .aligners.base import unit
from .corpora.image_views import ImageViews
from .encoders import Encoder
from .errors import RevisionError
from .visual_batch import IMAGE, PIXELS, TEXT, TEXT_PART

TOWER_NAME = "revision"  # what --vision_tower calls it


class PseudoVisionTower(nn.Module):
    """LLaVA's tower contract around a frozen dual encoder and a fitted aligner.

    The encoder is no submodule: the host's casts, wrapping and checkpoints do not touch it. It runs in the
    host's precision on an accelerator and in float32 on a CPU. Alignment never runs below float32.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        tokens: int = 1,
        aligner: Aligner | None = None,
        views: ImageViews | None = None,
        part_aligner: Aligner | None = None,
    ):
        super().__init__()
        if tokens < 1:
            raise RevisionError(f"the number of visual tokens must be at least 1, not {tokens}")
        self._encoder = [encoder]  # in a list, so that nn.Module never registers it
        self.views = views or ImageViews()
        self.image_processor = encoder.image_processor.with_views(self.views)
        self.use_aligner(aligner, part_aligner)
        self.num_patches = tokens  # of one view
        self.is_loaded = False
        self.placement: torch.Tensor
        self.register_buffer("placement", torch.zeros(()), persistent=False)  # follows the host's .to()

    def load_model(self, device_map=None) -> None:
        """Part of the tower contract. The encoder loads its weights when the first pixels come."""
        self.is_loaded = True

    def use_aligner(self, aligner: Aligner | None, part_aligner: Aligner | None = None) -> None:
        """Give the tower other aligners, of whole texts and of parts of texts. Raises RevisionError where one fits
        another encoder.
        """
        for each in (aligner, part_aligner):
            if each is not None and each.dim != self.hidden_size:
                raise RevisionError(
                    f"the aligner maps {each.dim} dimensions, encoder '{self.encoder.spec}' gives {self.hidden_size}"
                )
        self.aligner, self.part_aligner = aligner, part_aligner

    @property
    def encoder(self) -> Encoder:
        return self._encoder[0]

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
        """Text embeddings [B, D], pixels [B, 3, H, W], rows of a packed batch (`visual_batch.pack`), or a list of items
        -> [B, T, D] in the input's dtype; pixels of views [B, V, 3, H, W] -> [B, V T, D].

        Embeddings may be raw or unit-norm. Raises RevisionError for any other shape.
        """
        if isinstance(images, list):
            return [self._features(image if image.ndim in (2, 4) else image.unsqueeze(0)) for image in images]
        return self._features(images)

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        size = self.image_processor.crop_size
        shape = (3, size["height"], size["width"])
        if images.ndim == 5:
            return self._features(images.flatten(0, 1)).unflatten(0, images.shape[:2]).flatten(1, 2)
        if images.ndim == 4 and images.shape[1:3] == (1, 1):
            features = self._unpack(images.flatten(1), shape)
        elif images.ndim == 4:
            features = self._encode(images)
        elif images.ndim == 2 and images.shape[1] == self.hidden_size:
            features = self._align(images)
        elif images.ndim == 2 and images.shape[1] == 1 + max(self.hidden_size, math.prod(shape)):
            features = self._unpack(images, shape)
        else:
            raise RevisionError(
                f"the tower takes embeddings [B, {self.hidden_size}] or pixels [B, 3, {size['height']}, "
                f"{size['width']}], of V views [B, V, 3, {size['height']}, {size['width']}], "
                f"got {list(images.shape)}"
            )
        return features.to(images.dtype).unsqueeze(1).expand(-1, self.num_patches, -1)

    def _unpack(self, packed: torch.Tensor, pixel_shape: tuple[int, int, int]) -> torch.Tensor:
        """Features [N, D] of packed rows [N, 1 + W], each headed by its kind."""
        kinds, rows = packed[:, 0], packed[:, 1:]
        features = torch.empty(len(packed), self.hidden_size, device=packed.device)
        for kind in kinds.unique().tolist():
            here = kinds == kind
            if kind == PIXELS:
                found = self._encode(rows[here, : math.prod(pixel_shape)].unflatten(1, pixel_shape))
            elif kind in (TEXT, TEXT_PART):
                found = self._align(rows[here, : self.hidden_size], part=kind == TEXT_PART)
            elif kind == IMAGE:  # its embedding, made before
                found = unit(rows[here, : self.hidden_size].float())
            else:
                raise RevisionError(f"a packed batch has rows of no known kind ({kind}); use visual_batch.pack")
            features[here] = found.float()
        return features

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        dtype = torch.float32 if pixels.device.type == "cpu" else self.dtype
        if (self.encoder.device, self.encoder.dtype) != (pixels.device, dtype):
            self.encoder.to(device=pixels.device, dtype=dtype)
        return self.encoder.encode_pixels(pixels).clone()  # a normal tensor: inference tensors cannot meet autograd

    def _align(self, embeddings: torch.Tensor, *, part: bool = False) -> torch.Tensor:
        aligner = self.part_aligner if part else self.aligner
        if aligner is None:
            what, of_parts, flag = ("parts of texts", " of parts", "part_") if part else ("text embeddings", "", "")
            raise RevisionError(
                f"{what} reached a tower without an aligner{of_parts}; give --revision_{flag}aligner DIR "
                "(for no alignment, an aligner fitted with --method none)"
            )
        return aligner(embeddings, training=self.training)
