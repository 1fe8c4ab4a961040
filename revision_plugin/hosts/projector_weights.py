"""A trained projector alone, of whatever its training left: LLaVA's files, an HF-native folder, a checkpoint of one."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

from .._common.files import read_object
from ..errors import RevisionError
from .native_form import CONFIG
from .weight_files import read_tensor, require_finite_tensors, saved_names

NATIVE_PROJECTOR = "multi_modal_projector."  # behind `model.`, in some releases of transformers
LAYERS = {"linear_1": "0", "linear_2": "2"}  # of the HF-native projector, by their places in LLaVA's
NAME = re.compile(r"(?:(\d+)\.)?(weight|bias)")


def projector_module(tensors: dict[str, torch.Tensor], where: object) -> nn.Sequential:
    """The projector [N, D] -> [N, H] in float32, of its weights by their names in LLaVA's file: `weight` and `bias` of
    a linear layer, `0.weight`, `0.bias`, `2.weight`, ... of layers between which GELU stands.

    Raises RevisionError for the weights of another kind of projector, and for layers that do not fit together.
    """
    places = {int(found[1] or 0) for name in tensors if (found := NAME.fullmatch(name))}
    prefixes = [""] if "weight" in tensors else [f"{place}." for place in sorted(places)]
    expected = {f"{prefix}{part}" for prefix in prefixes for part in ("weight", "bias")}
    if not places or tensors.keys() != expected or sorted(places) != list(range(0, 2 * len(places), 2)):
        other = min(tensors.keys() ^ expected, default="")
        raise RevisionError(f"{where}: has a projector that is no chain of layers with GELU between them ('{other}')")
    layers: list[nn.Module] = []
    for prefix in prefixes:
        weight, bias = (tensors[f"{prefix}{part}"].float() for part in ("weight", "bias"))
        before = next((each.out_features for each in reversed(layers) if isinstance(each, nn.Linear)), None)
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or before not in (None, weight.shape[1]):
            raise RevisionError(f"{where}: the projector's '{prefix}weight' has shape {list(weight.shape)}")
        layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        layer.weight, layer.bias = (nn.Parameter(each, requires_grad=False) for each in (weight, bias))
        layers += [nn.GELU(), layer] if layers else [layer]
    return nn.Sequential(*layers).eval()


def folder_projector(path: Path, scale: float) -> dict[str, torch.Tensor]:
    """The projector of an HF-native folder by the names in LLaVA's file. `scale` is the factor by which its language
    model multiplies what it is given, which the last of two layers has been divided by.

    Raises RevisionError where it is missing, cut or not finite.
    """
    config = read_object(path / CONFIG)
    names = saved_names(path)
    tensors = {name: value.float() for name, value in native_tensors(names).items()}
    require_finite_tensors(path, tensors)
    if tensors.keys() != {f"linear_{layer}.{part}" for layer in (1, 2) for part in ("weight", "bias")}:
        raise RevisionError(f"{path}: holds no projector of two layers; get it again")
    if config.get("projector_hidden_act") == "linear":  # the second layer is the identity
        return in_llavas_names({name: value for name, value in tensors.items() if name.startswith("linear_1.")})
    return in_llavas_names(
        {name: value * scale if name.startswith("linear_2.") else value for name, value in tensors.items()}
    )


def native_tensors(names: dict[str, Path]) -> dict[str, torch.Tensor]:
    """The weights of an HF-native projector, `linear_1.weight` and the like, among those that lie in files by their
    names.
    """
    return {
        name.partition(NATIVE_PROJECTOR)[2]: read_tensor(file, name)
        for name, file in names.items()
        if NATIVE_PROJECTOR in name
    }


def in_llavas_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An HF-native projector's weights by the names in LLaVA's file, which has no numbers where there is one layer."""
    if not any(name.startswith("linear_2.") for name in tensors):
        return {name.removeprefix("linear_1."): value for name, value in tensors.items()}
    parts = [(name, *name.partition(".")) for name in tensors]
    return {f"{LAYERS.get(layer, layer)}.{part}": tensors[name] for name, layer, _, part in parts}
