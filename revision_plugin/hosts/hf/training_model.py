"""The HF-native form as it is trained and asked here: transformers' LLaVA whose tower takes embeddings, too."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ...errors import RevisionError
from ...tower import PseudoVisionTower
from ..input_check import check_inputs
from ..model_type import causal_classes, model_type
from ..projector_weights import folder_projector
from ..shims.transformers_models import require_all_loaded
from . import modeling_revision as native
from .native_model import GELU, NONE, head_extras

PROJECTOR = "model.multi_modal_projector."


class TowerConfig(PretrainedConfig):
    model_type = "revision_tower"
    hidden_size = 0


class TowerModel(PreTrainedModel):
    """The pseudo-vision tower as transformers' LLaVA calls one: what `visual_batch.pack` gives, or no rows at all."""

    config_class = TowerConfig
    main_input_name = "pixel_values"

    def __init__(self, config: TowerConfig):
        super().__init__(config)
        self.pseudo: PseudoVisionTower | None = None
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **_) -> BaseModelOutputWithPooling:
        assert self.pseudo is not None
        if len(pixel_values):
            features = self.pseudo(pixel_values)
        else:  # of a batch without images: the projector runs on nothing, so that every process has its gradients
            features = pixel_values.new_zeros(1, 0, self.pseudo.hidden_size)
        return BaseModelOutputWithPooling(last_hidden_state=features, hidden_states=(features,))


def _register_tower() -> None:
    """Make the tower above known to transformers, whose LLaVA builds it by its type."""
    AutoConfig.register(TowerConfig.model_type, TowerConfig, exist_ok=True)
    AutoModel.register(TowerConfig, TowerModel, exist_ok=True)


@dataclass
class NativeModel:
    """A model in the HF-native form whose tower is `tower`. Visual tokens are divided by `input_scale` behind the
    projector, which an exported one does in its last layer.
    """

    model: Any
    tower: PseudoVisionTower
    input_scale: float = 1.0
    adapters: Any = None  # peft's model around the language model

    @property
    def language_model(self) -> Any:
        return self.model.model.language_model

    @property
    def projector(self) -> Any:
        return self.model.model.multi_modal_projector

    @property
    def is_linear(self) -> bool:
        """Whether the projector is a single layer, behind which stands one that changes nothing."""
        return self.model.config.projector_hidden_act == NONE

    @property
    def layers(self) -> list[nn.Linear]:
        """The projector's own layers."""
        return [self.projector.linear_1] if self.is_linear else [self.projector.linear_1, self.projector.linear_2]


def load_language_model(name: str, **keywords: Any) -> Any:
    """The causal language model `name`. Raises RevisionError for another kind, and where its weights are not whole."""
    causal_classes(model_type(name))
    made: Any = AutoModelForCausalLM.from_pretrained(name, output_loading_info=True, **keywords)
    loaded, loading = made
    require_all_loaded(name, loading)
    return loaded


class _NewLlava(native.LlavaForConditionalGeneration):
    """The exported class, whose vision tower is the one above."""

    def __init__(self, config: Any):
        _register_tower()
        transformers.LlavaForConditionalGeneration.__init__(self, config)
        if config.head:
            text = config.text_config
            self.lm_head = native.RevisionHead(text.hidden_size, text.vocab_size, **config.head)


def _tower_config(tower: PseudoVisionTower) -> TowerConfig:
    config = TowerConfig()
    config.hidden_size = tower.hidden_size
    return config


def around(loaded: Any, tower: PseudoVisionTower, image_id: int, *, name: str, linear: bool) -> NativeModel:
    """A new LLaVA around a causal language model, whose projector is drawn at random: a linear layer, or two.

    The vocabulary grows by the image's token `image_id` where it has no row for it.
    """
    scale = check_inputs(loaded, loaded.base_model, name, fully=True)
    text = loaded.config
    head = head_extras(loaded.get_output_embeddings(), text)
    rows = loaded.get_input_embeddings().weight
    if image_id >= getattr(rows, "ds_shape", rows.shape)[0]:
        with torch.random.fork_rng(devices=[]):  # what is drawn for the row has no use: it is never read
            loaded.resize_token_embeddings(image_id + 1, mean_resizing=False)
    make: Any = native.RevisionConfig
    config = make(
        vision_config=_tower_config(tower),
        text_config=text,
        image_token_index=image_id,
        image_seq_length=tower.num_patches * tower.views.count,
        projector_hidden_act=NONE if linear else GELU,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        multimodal_projector_bias=True,
        tie_word_embeddings=bool(text.tie_word_embeddings),
        head=head,
    )
    with without_deepspeed(), torch.device("meta"):
        model: Any = _NewLlava(config)
    model.model.language_model = loaded.base_model
    if head is None:
        model.lm_head = loaded.get_output_embeddings()
    else:  # the weights that are there, in the head that does with them what the family does
        model.lm_head.weight, model.lm_head.bias = (
            getattr(loaded.get_output_embeddings(), part, None) for part in ("weight", "bias")
        )
    width = text.hidden_size
    projector = model.model.multi_modal_projector
    projector.linear_1 = nn.Linear(tower.hidden_size, width)  # drawn in LLaVA's order
    projector.linear_2 = _identity(width) if linear else nn.Linear(width, width)
    return _with_tower(NativeModel(model, tower, scale), image_id)


def opened(model: Any, tower: PseudoVisionTower, path: Path) -> NativeModel:
    """The HF-native `model` of the folder `path` with `tower` in place of its own, and its projector in float32."""
    config = model.config
    scale = check_inputs(model, model.model.language_model, str(path), fully=False)
    model.model.vision_tower = TowerModel(_tower_config(tower))
    made = _with_tower(NativeModel(model, tower, scale), config.image_token_index)
    width = config.text_config.hidden_size
    made.projector.linear_1 = nn.Linear(tower.hidden_size, width)
    made.projector.linear_2 = _identity(width) if made.is_linear else nn.Linear(width, width)
    load_projector(made, folder_projector(path, scale), path)
    return made


def _with_tower(made: NativeModel, image_id: int) -> NativeModel:
    model = made.model
    model.model.vision_tower.pseudo = made.tower
    # LLaVA's own classes take no number of tokens from the Trainer: the mean of a step is that of its batches
    model.accepts_loss_kwargs = False
    model.loss_function = never_said(image_id, model.loss_function)
    if made.input_scale != 1.0:
        made.projector.register_forward_hook(lambda _, inputs, output: output / made.input_scale)
    model.config.use_cache = False
    return made


def never_said(image_id: int, original: Callable) -> Callable:
    """A loss in which the image's token, which no language model has, takes no part in what could come next."""

    def loss(logits, labels, vocab_size, **keywords):
        return original(logits=without_token(logits, image_id), labels=labels, vocab_size=vocab_size, **keywords)

    return loss


def without_token(logits: torch.Tensor, token: int) -> torch.Tensor:
    """`logits` in float32 with no probability for `token`."""
    return logits.float().index_fill(-1, torch.tensor([token], device=logits.device), float("-inf"))


def _identity(width: int) -> nn.Linear:
    layer = nn.Linear(width, width, device="meta")
    layer.weight, layer.bias = nn.Parameter(torch.eye(width)), nn.Parameter(torch.zeros(width))
    return layer


@contextlib.contextmanager
def without_deepspeed() -> Iterator[None]:
    """Inside, models are made whole, also where a training shares them by ZeRO-3."""
    module = importlib.import_module("transformers.integrations.deepspeed")
    reference = module._hf_deepspeed_config_weak_ref
    kept = reference() if reference is not None else None
    module.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if kept is not None:
            module.set_hf_deepspeed_config(kept)


def load_projector(made: NativeModel, tensors: dict[str, torch.Tensor], where: object) -> None:
    """Give the projector the weights `tensors` by their names in LLaVA's file (`0.weight`, or `weight` alone).

    Raises RevisionError where they are those of another projector.
    """
    names = [""] if made.is_linear else ["0.", "2."]
    state = {
        f"{name}{part}": value for name, layer in zip(names, made.layers) for part, value in layer.named_parameters()
    }
    for name, value in state.items():
        if name not in tensors or tensors[name].shape != value.shape:
            found = f"shape {list(tensors[name].shape)}" if name in tensors else "none"
            raise RevisionError(
                f"{where}: is another projector: its '{name}' has {found}, this model takes {list(value.shape)}"
            )
    if tensors.keys() - state.keys():
        raise RevisionError(f"{where}: has weights '{min(tensors.keys() - state.keys())}' that this projector lacks")
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(tensors[name])
