"""Names that the LLaVAs import from modules of transformers that no longer have them."""

from __future__ import annotations

from typing import Any

import accelerate.utils
import transformers.pytorch_utils
import transformers.trainer_pt_utils

# the names are looked up when they are asked for: one that has moved again is then named by its hook


def layernorm_layers(present: Any) -> Any:
    return present or transformers.pytorch_utils.ALL_LAYERNORM_LAYERS


def parameter_names(present: Any) -> Any:
    return present or transformers.trainer_pt_utils.get_parameter_names


def accumulation_plugin(present: Any) -> Any:
    return present or accelerate.utils.GradientAccumulationPlugin


def apply_chunking(present: Any) -> Any:
    return present or transformers.pytorch_utils.apply_chunking_to_forward


def find_heads(present: Any) -> Any:
    return present or transformers.pytorch_utils.find_pruneable_heads_and_indices


def prune_layer(present: Any) -> Any:
    return present or transformers.pytorch_utils.prune_linear_layer
