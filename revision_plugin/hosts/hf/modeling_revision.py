# Copyright 2026 the authors of revision-plugin
# SPDX-License-Identifier: Apache-2.0
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on an
# "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for the
# specific language governing permissions and limitations under the License.
"""LLaVA whose vision tower gives the global embedding of a contrastive encoder (ReVision, arXiv 2602.07026).

An image, and with views each of its parts, becomes one unit-norm vector that is repeated to `tokens` visual tokens.
Everything else is transformers' LLaVA. This file is whole: it needs transformers, and open_clip for an encoder of
open_clip.
"""

import importlib
import itertools
import math

import numpy as np
import torch
import transformers
from PIL import Image
from torch import nn
from transformers import AutoConfig, AutoModel, BatchFeature, LlavaConfig
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.image_processing_utils import ImageProcessingMixin
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import ImagesKwargs

OPEN_CLIP, TRANSFORMERS = "open_clip", "transformers"


def _open_clip(module: str):
    try:
        return importlib.import_module(f"open_clip.{module}")
    except ImportError as error:
        raise ImportError(
            f"this model's image encoder is one of open_clip: pip install open_clip_torch ({error})"
        ) from error


class RevisionVisionConfig(transformers.PretrainedConfig):
    """`library` and `encoder` (its own config) say what is built, `left_out` which parts of it have no use for images;
    `hidden_size` D, `tokens` T of each of `views` vectors.
    """

    model_type = "revision_vision"
    library = TRANSFORMERS
    encoder = None
    encoder_class = None  # `module.Class` of an encoder that brings its own code, which lies beside this file
    left_out = ()
    hidden_size = 0
    tokens = 1
    views = 1
    own_head = False  # whether the language model's head needs the class below
    folder = None  # where the model was opened
    opened_whole = False

    def to_dict(self) -> dict:
        saved = super().to_dict()
        for name in ("folder", "opened_whole"):
            saved.pop(name, None)
        return saved


class RevisionVisionModel(transformers.PreTrainedModel):
    """Pixels [B, 3, H, W], or of V views [B, V, 3, H, W], to visual tokens [B, V T, D]: each T times the unit-norm
    embedding of a view.
    """

    config_class = RevisionVisionConfig
    main_input_name = "pixel_values"
    base_model_prefix = "encoder"
    _supports_sdpa = _supports_flash_attn = _supports_attention_backend = True

    def __init__(self, config: RevisionVisionConfig):
        super().__init__(config)
        if config.own_head and not config.opened_whole:
            raise ValueError(
                "this language model's head needs the class of modeling_revision.py; open the folder with "
                "AutoModelForImageTextToText.from_pretrained(FOLDER, trust_remote_code=True)"
            )
        self.encoder = _encoder(config)
        for module in self.encoder.modules():
            # what is computed when a model is made is saved as well: transformers makes models without values
            module._non_persistent_buffers_set.clear()
        self.post_init()

    def train(self, mode: bool = True):
        """Frozen in training as well: batch normalisation keeps its statistics, and nothing is dropped."""
        super().train(mode)
        self.encoder.eval()
        return self

    def embed(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixels [N, 3, H, W] -> float32 unit-norm embeddings [N, D]."""
        if self.config.library == OPEN_CLIP:
            features = self.encoder(pixel_values)
            features = features[0] if isinstance(features, tuple) else features
        else:
            output = self.encoder.get_image_features(pixel_values=pixel_values)
            features = output if isinstance(output, torch.Tensor) else output.pooler_output
        return features.float() / features.float().norm(dim=-1, keepdim=True)

    def forward(self, pixel_values: torch.Tensor, **_) -> BaseModelOutputWithPooling:
        views = pixel_values if pixel_values.ndim == 5 else pixel_values.unsqueeze(1)
        pixels = views.flatten(0, 1).to(next(self.encoder.parameters()).dtype)
        embeddings = self.embed(pixels).to(pixels.dtype).unflatten(0, views.shape[:2])
        tokens = embeddings.repeat_interleave(self.config.tokens, dim=1)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))


def _encoder(config: RevisionVisionConfig) -> nn.Module:
    """The image side of the encoder that `config` describes, without its weights."""
    if config.library == OPEN_CLIP:
        return _open_clip("model")._build_vision_tower(**config.encoder)
    if config.encoder_class:
        made = get_class_from_dynamic_module(config.encoder_class, config.folder)
        model = made._from_config(made.config_class.from_dict(config.encoder))
    else:
        model = AutoModel.from_config(AutoConfig.for_model(**config.encoder))
    for name in config.left_out:
        delattr(model, name)
    return model


class RevisionConfig(LlavaConfig):
    """LLaVA's, whose vision tower is the one above; `head` says what a language model's head has beside weights."""

    head = None

    @classmethod
    def from_dict(cls, config_dict, **keywords):
        _require_as_new(config_dict.get("transformers_version"))
        register()
        folder = keywords.get("name_or_path")
        config = super().from_dict(config_dict, **keywords)
        (config[0] if isinstance(config, tuple) else config).vision_config.folder = folder
        return config


def _require_as_new(written: str | None) -> None:
    """Raise ImportError where an older generation of transformers would read the config otherwise than it was written:
    before 5 it does not know where 5 writes the base of the rotary positions, and would take a default.
    """
    if written and int(transformers.__version__.split(".")[0]) < int(written.split(".")[0]):
        raise ImportError(
            f"this folder was written with transformers {written}, whose configs {transformers.__version__} misreads: "
            f"pip install 'transformers>={written.split('.')[0]}'"
        )


class RevisionHead(nn.Linear):
    """A language model's last layer with what some families add: a bias, a factor, a bound."""

    def __init__(self, inputs: int, outputs: int, *, bias=False, factor=1.0, divisor=1.0, bound=None):
        super().__init__(inputs, outputs, bias=bias)
        self.factor, self.divisor, self.bound = factor, divisor, bound

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        logits = super().forward(states)
        if self.factor != 1.0:
            logits = logits * self.factor
        if self.divisor != 1.0:
            logits = logits / self.divisor
        return logits if self.bound is None else self.bound * torch.tanh(logits / self.bound)


class LlavaForConditionalGeneration(transformers.LlavaForConditionalGeneration):
    """transformers' LLaVA with the tower above, by its name, which servers go by; a class of its own for the head."""

    config_class = RevisionConfig

    def __init__(self, config: RevisionConfig):
        register(type(config.vision_config))
        config.vision_config.opened_whole = True
        super().__init__(config)
        if config.head:
            self.lm_head = RevisionHead(config.text_config.hidden_size, config.text_config.vocab_size, **config.head)
            self.post_init()


class RevisionModel(transformers.LlavaModel):
    """The model without its head: vLLM opens this one and gives it a head of its own."""

    config_class = RevisionConfig

    def __init__(self, config: RevisionConfig):
        register(type(config.vision_config))
        super().__init__(config)


class RevisionImageProcessor(ImageProcessingMixin):
    """The encoder's own preprocessing of an image, or of each of its views: the whole, then `rows` x `columns` parts.

    `crop` enlarges a part to what the encoder takes; `mask` leaves it at its place and covers the rest with the
    picture's mean colour. With `square` a picture is first padded to a square of the encoder's mean colour.
    """

    model_input_names = ["pixel_values"]
    valid_kwargs = ImagesKwargs  # which transformers 5 asks for

    def __init__(
        self,
        library: str = TRANSFORMERS,
        encoder_processor: dict | None = None,
        crop_size: dict | None = None,
        image_mean: list | None = None,
        rows: int = 1,
        columns: int = 1,
        part: str = "mask",
        overlap: float = 0.0,
        square: bool = False,
        **keywords,
    ):
        super().__init__(**keywords)
        self.library, self.encoder_processor, self.image_mean = library, encoder_processor or {}, image_mean
        self.crop_size = self.size = crop_size
        self.rows, self.columns, self.part, self.overlap, self.square = rows, columns, part, overlap, square

    def __call__(self, images, return_tensors: str | None = "pt", **_) -> BatchFeature:
        """An RGB picture or a (nested) list of them -> `pixel_values` [N, 3, H, W], or [N, V, 3, H, W] with views."""
        transform = self._transform()
        pixels = [self._pixels(image, transform) for image in _flat(images)]
        return BatchFeature({"pixel_values": torch.stack(pixels)}, tensor_type=return_tensors)

    preprocess = __call__

    def _transform(self):
        if self.library == OPEN_CLIP:
            transform = _open_clip("transform")
            return transform.image_transform_v2(transform.PreprocessCfg(**self.encoder_processor), is_train=False)
        settings = dict(self.encoder_processor)
        processor = getattr(transformers, settings.pop("image_processor_type"))(**settings)
        # an array, and where its channels are: a picture of three pixels' height looks like one with its channels first
        settings = dict(return_tensors="pt", input_data_format="channels_last")
        return lambda image: processor(np.asarray(image), **settings)["pixel_values"][0]

    def _pixels(self, image, transform) -> torch.Tensor:
        if not isinstance(image, Image.Image):
            image = Image.fromarray(np.asarray(image))
        image = image.convert("RGB")
        if self.square and image.width != image.height:
            side = max(image.size)
            padded = Image.new("RGB", (side, side), tuple(int(each * 255) for each in self.image_mean))
            padded.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
            image = padded
        if self.rows * self.columns == 1:
            return transform(image)
        return torch.stack([transform(view) for view in self._views(image)])

    def _views(self, image):
        yield image
        spans = (_spans(size, n, self.overlap) for size, n in zip(image.size, (self.columns, self.rows)))
        across, down = spans
        mean = tuple(np.asarray(image).mean((0, 1), dtype=np.float64).round().astype(int).tolist())
        for (top, bottom), (left, right) in itertools.product(down, across):
            box = (left, top, right, bottom)
            if self.part == "crop":
                yield image.crop(box)
            else:
                masked = Image.new("RGB", image.size, mean)
                masked.paste(image.crop(box), box)
                yield masked


def _spans(size: int, parts: int, overlap: float) -> list:
    """From where to where each of `parts` equal parts of a line of `size` pixels reaches."""
    if overlap:
        length = size / (parts - (parts - 1) * overlap)
        starts = [index * length * (1 - overlap) for index in range(parts)]
        spans = [(math.floor(start + 0.5), math.floor(start + length + 0.5)) for start in starts]
    else:  # in whole numbers, so that no rounding leaves a gap
        spans = list(itertools.pairwise((2 * index * size + parts) // (2 * parts) for index in range(parts + 1)))
    firsts = [min(first, size - 1) for first, _ in spans]
    return [(first, min(max(last, first + 1), size)) for first, (_, last) in zip(firsts, spans)]


def _flat(images) -> list:
    return [each for image in images for each in _flat(image)] if isinstance(images, (list, tuple)) else [images]


def register(vision_config: type = RevisionVisionConfig) -> None:
    """Make the tower known to transformers, whose LLaVA builds it by its type. A process that was sent a config has a
    copy of its class, `vision_config`.
    """
    AutoConfig.register(RevisionVisionConfig.model_type, RevisionVisionConfig, exist_ok=True)
    for each in {RevisionVisionConfig, vision_config}:
        AutoModel.register(each, RevisionVisionModel, exist_ok=True)
