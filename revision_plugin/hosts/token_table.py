"""The token embeddings that a language model begins with, read of its files; none of its layers is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from transformers import PretrainedConfig

from ..errors import RevisionError, library_failures
from .checkpoint_parts import embeddings_name
from .input_check import input_scale
from .model_type import causal_classes
from .weight_files import quiet_loading, read_tensor, require_finite_tensors

TRAINED_TYPES = {"llava": "llama", "llava_qwen": "qwen2"}  # by which LLaVA's trainings call others' models
TRAINED_PREFIX = "llava_"  # before the others
NOT_THE_MODELS = {"model_type", "architectures", "transformers_version", "dtype", "torch_dtype", "_name_or_path"}
CHUNK = 8192  # tokens at a time


def text_config(config: dict, where: str) -> PretrainedConfig:
    """The language model's own config in `config`, which is its own, that of a LLaVA around it, or an HF-native
    folder's. Raises RevisionError where it describes no causal language model.
    """
    text: Any = config.get("text_config", config)
    kind = text.get("model_type") if isinstance(text, dict) else None
    if not isinstance(kind, str):
        raise RevisionError(f"{where}: its config says no type of a language model; get it again")
    config_class, _ = causal_classes(TRAINED_TYPES.get(kind, kind.removeprefix(TRAINED_PREFIX)))
    with library_failures(f"{where}: its config describes no language model"):
        own = config_class().to_dict().keys() - NOT_THE_MODELS
        return config_class.from_dict({name: value for name, value in text.items() if name in own})


def bare_model(config: PretrainedConfig, where: str) -> Any:
    """The model that `config` describes, without its head: its buffers are there, of its weights the shapes alone."""
    _, causal = causal_classes(str(config.model_type))
    with library_failures(f"{where}: its language model cannot be built"), quiet_loading(), _shapes_alone():
        return causal(config).base_model.eval()


@contextlib.contextmanager
def _shapes_alone() -> Iterator[None]:
    """Inside, modules are made whose parameters have no values."""

    def without_values(module: nn.Module, name: str, parameter: Any) -> Any:
        return None if parameter is None else nn.Parameter(parameter.to("meta"), requires_grad=False)

    handle = register_module_parameter_registration_hook(without_values)
    try:
        yield
    finally:
        handle.remove()


def read_table(bare: Any, files: dict[str, Path], where: str) -> torch.Tensor | None:
    """The input embedding table [V, H] among the weights `files`, by their names, in float32; None where it is not
    there. Raises RevisionError where several could be it, or it is not finite.
    """
    wanted = embeddings_name(bare)
    names = [
        name for name in files if (name == wanted or name.endswith(f".{wanted}")) and "vision_tower." not in f"{name}."
    ]
    if not names:
        return None
    if len(names) > 1:
        raise RevisionError(f"{where}: holds several tables of token embeddings ({', '.join(sorted(names)[:2])})")
    table = read_tensor(files[names[0]], names[0]).float()
    require_finite_tensors(Path(where), {names[0]: table})
    return table


def at_first_layer(bare: Any, table: torch.Tensor, where: str) -> tuple[torch.Tensor, float]:
    """What the first layer is given for each token, float32 [V, H]: the rows of `table`, times the factors that some
    families have (Gemma's root of the width); and the factor that embeddings given in place of tokens get there.

    A visual token reaches the first layer as the projector gives it, in every host: that factor is divided out before.
    `table` is overwritten.
    """
    embeddings = bare.get_input_embeddings()
    with torch.no_grad(), library_failures(f"{where}: its language model takes no embeddings in place of tokens"):
        lists = [module for module in bare.modules() if isinstance(module, nn.ModuleList)]
        layers = {part for each in lists for part in each.modules()}
        for module in set(bare.modules()) - layers - {embeddings}:  # positions and the like: factors show without them
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(torch.zeros(parameter.shape), requires_grad=False))
        embeddings.weight = nn.Parameter(table, requires_grad=False)
        scale = input_scale(bare, device=torch.device("cpu"), dtype=torch.float32)
        for start in range(0, len(table), CHUNK):
            ids = torch.arange(start, min(start + CHUNK, len(table)))
            table[start : start + CHUNK] = embeddings(ids) * scale
    return table, scale
