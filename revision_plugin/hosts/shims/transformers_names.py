"""Names that the LLaVAs import from modules of transformers that no longer have them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import accelerate.utils
import transformers.pytorch_utils
import transformers.trainer_pt_utils

from ...errors import RevisionError


def _gone(name: str) -> Callable[..., Any]:
    def raising(*arguments: Any, **keywords: Any) -> Any:
        raise RevisionError(f"{name} is no longer in transformers; nothing that the plugin trains calls it")

    return raising


def _now_in_or_gone(module: ModuleType, name: str) -> Callable[[Any], Any]:
    return lambda present: present or getattr(module, name, None) or _gone(name)


def _now_in(module: ModuleType, name: str) -> Callable[[Any], Any]:
    # looked up when it is applied: one that has moved again is then named by its hook
    return lambda present: present or getattr(module, name)


layernorm_layers = _now_in(transformers.pytorch_utils, "ALL_LAYERNORM_LAYERS")
parameter_names = _now_in(transformers.trainer_pt_utils, "get_parameter_names")
accumulation_plugin = _now_in(accelerate.utils, "GradientAccumulationPlugin")
apply_chunking = _now_in(transformers.pytorch_utils, "apply_chunking_to_forward")
find_heads = _now_in_or_gone(transformers.pytorch_utils, "find_pruneable_heads_and_indices")
prune_layer = _now_in_or_gone(transformers.pytorch_utils, "prune_linear_layer")
