"""Whether a loaded checkpoint holds the weights that its files hold: what is missing there would be random."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..._common.files import read_object
from ...errors import RevisionError
from ..weight_files import (
    PROJECTOR,
    read_safetensors,
    read_tensor,
    read_tensors,
    require_finite_tensors,
    saved_names,
)

PROJECTOR_FILE = "mm_projector.bin"
LORA_FILE = "non_lora_trainables.bin"
ADAPTER_FILE = "adapter_model.safetensors"
NOT_ADAPTED = ("mm_projector", "vision_tower", "vision_resampler", "lm_head")  # by LLaVA's training


@dataclass(frozen=True)
class SavedWeights:
    """What the files of a checkpoint hold: the folder of its language model's weights, and the projector's tensors with
    the file or folder that they came from.
    """

    folder: Path
    projector: dict[str, torch.Tensor]
    projector_place: Path


def read_weights(path: Path, base: str | None) -> SavedWeights:
    """What the folder `path` and its language model `base` hold, before anything is made of it.

    Raises RevisionError for missing, cut or foreign files, and for a projector that is missing or not finite.
    """
    folder = Path(base) if base else path
    names = saved_names(folder) if folder.is_dir() else None
    if base:
        lora = (path / "adapter_config.json").is_file()
        if lora:
            _check_adapters(path)
        place = path / (LORA_FILE if lora else PROJECTOR_FILE)
        tensors = {name: value for name, value in read_tensors(place).items() if PROJECTOR in name}
    else:
        place, stored = path, {name: file for name, file in (names or {}).items() if PROJECTOR in name}
        tensors = {name: read_tensor(file, name) for name, file in stored.items()}
    if not tensors:
        raise RevisionError(f"{place}: holds no weights of a projector; train it again")
    require_finite_tensors(place, tensors)
    return SavedWeights(folder, tensors, place)


def _check_adapters(path: Path) -> None:
    """Raise RevisionError unless every adapted module of every layer has both of its matrices, and they are finite: a
    missing one would leave the language model as it was.
    """
    file, tensors = _adapters(path)
    modules: dict[str, set[str]] = {}
    for name in tensors:
        module, mark, _ = name.rpartition(".lora_")
        if mark:
            modules.setdefault(module, set()).add(name[len(module) + len(mark)])
    half = sorted(module for module, kinds in modules.items() if kinds != {"A", "B"})
    layers = Counter(module.rpartition(".")[2] for module in modules)
    uneven = sorted(name for name, count in layers.items() if count != max(layers.values()))
    if not modules or half or uneven:
        what = half[0] if half else f"adapters of '{uneven[0]}' in some layers" if uneven else "any adapter"
        raise RevisionError(f"{file}: lacks {what}; get the checkpoint again, or train it to the end")
    require_finite_tensors(file, tensors)


def require_weights(saved: SavedWeights, loaded: Any) -> None:
    """Raise RevisionError unless the projector of the model `loaded` has the file's weights and all of its weights are
    finite. That its language model is whole is checked where it is loaded.
    """
    _require_projector(saved.projector_place, saved.projector, loaded)
    if saved.projector_place.name == LORA_FILE:
        _require_adapters_taken(saved.projector_place.parent, loaded)
    require_finite_tensors(saved.folder, dict(loaded.named_parameters()))


def _require_adapters_taken(path: Path, loaded: Any) -> None:
    """Raise RevisionError unless the adapters in the file are those of the modules that the config names, all of them
    and no other: peft passes over what it finds no place for.
    """
    config = read_object(path / "adapter_config.json")
    targets = config.get("target_modules")
    if config.get("layers_to_transform") is not None or not isinstance(targets, (str, list)):
        raise RevisionError(
            f"{path / 'adapter_config.json'}: names its modules in a way that LLaVA's training does not"
        )
    linear = {
        name
        for name, module in loaded.named_modules()
        if isinstance(module, torch.nn.Linear) and not any(part in name for part in NOT_ADAPTED)
    }
    if isinstance(targets, str):
        expected = {name for name in linear if re.fullmatch(targets, name)}
    else:
        expected = {name for name in linear if any(name == each or name.endswith(f".{each}") for each in targets)}
    found = {name.rpartition(".lora_")[0].removeprefix("base_model.model.") for name in _adapters(path)[1]}
    different = sorted(expected ^ found)
    if different:
        problem = "lacks" if different[0] in expected else "holds, against adapter_config.json,"
        raise RevisionError(f"{path}: {problem} the adapter of '{different[0]}'; get the checkpoint again")


def _adapters(path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """The file of a checkpoint's adapters, and what it holds."""
    file = path / ADAPTER_FILE
    if not file.is_file() and file.with_suffix(".bin").is_file():  # as peft wrote it until 2023
        file = file.with_suffix(".bin")
    return file, read_tensors(file) if file.suffix == ".bin" else read_safetensors(file)


def _require_projector(path: Path, tensors: dict[str, torch.Tensor], loaded: Any) -> None:
    ours = {name.partition(PROJECTOR)[2]: value for name, value in tensors.items()}
    for name, value in loaded.get_model().mm_projector.state_dict().items():
        if name not in ours:
            raise RevisionError(f"{path}: lacks the projector's weights '{PROJECTOR}{name}'; train it again")
        if ours[name].shape != value.shape:
            shapes = f"{list(ours[name].shape)}, this model takes {list(value.shape)}"
            raise RevisionError(f"{path}: its '{PROJECTOR}{name}' has shape {shapes}")
        if value.device.type != "meta" and not torch.equal(ours[name].to(value.dtype), value.cpu()):
            raise RevisionError(f"{path}: its '{PROJECTOR}{name}' was not loaded; the file names its weights otherwise")
