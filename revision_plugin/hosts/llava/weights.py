"""Whether a loaded checkpoint holds the weights that its files hold: what is missing there would be random."""

from __future__ import annotations

import contextlib
import pickle
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import logging as transformers_logging

from ..._common.files import read_object, require_regular
from ...errors import RevisionError, first_line, library_failures

PROJECTOR_FILE = "mm_projector.bin"
LORA_FILE = "non_lora_trainables.bin"
ADAPTER_FILE = "adapter_model.safetensors"
PROJECTOR = "mm_projector."
NOT_ADAPTED = ("mm_projector", "vision_tower", "vision_resampler", "lm_head")  # by LLaVA's training
PATTERNS = ("model*.safetensors", "pytorch_model*.bin")


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Without transformers' warnings of new weights, which it gives for healthy checkpoints, too: `require_weights`
    says what is missing.
    """
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def opening_checkpoint(name: str) -> contextlib.AbstractContextManager[None]:
    """`library_failures` of the checkpoint `name`."""
    return library_failures(f"{name}: does not load or answer")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a `.bin`, read without running code. Raises RevisionError where it is missing, cut or holds
    anything else.
    """
    if not path.is_file():
        raise RevisionError(f"{path}: no such file; get the checkpoint again, or train it to the end")
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, ValueError, OSError, KeyError, pickle.UnpicklingError) as error:
        raise RevisionError(f"{path}: holds no weights that can be read ({first_line(error)[:120]})") from None
    if not isinstance(value, dict) or not all(isinstance(each, torch.Tensor) for each in value.values()):
        raise RevisionError(f"{path}: holds something else than weights")
    return value


def check_projector_file(path: Path) -> None:
    """Raise RevisionError for a projector file that holds no projector, or one that is not finite."""
    tensors = {name: value for name, value in read_tensors(path).items() if PROJECTOR in name}
    if not tensors:
        raise RevisionError(f"{path}: holds no weights of a projector")
    _require_finite(path, tensors)


def _require_finite(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    broken = sorted(name for name, value in tensors.items() if not torch.isfinite(value).all())
    if broken:
        raise RevisionError(f"{path}: the weights '{broken[0]}' are not finite; train it again")


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
    names = _saved_names(folder) if folder.is_dir() else None
    if base:
        lora = (path / "adapter_config.json").is_file()
        if lora:
            _check_adapters(path)
        place = path / (LORA_FILE if lora else PROJECTOR_FILE)
        tensors = {name: value for name, value in read_tensors(place).items() if PROJECTOR in name}
    else:
        place, stored = path, {name: file for name, file in (names or {}).items() if PROJECTOR in name}
        tensors = {name: _read(file, name) for name, file in stored.items()}
    if not tensors:
        raise RevisionError(f"{place}: holds no weights of a projector; train it again")
    _require_finite(place, tensors)
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
    _require_finite(file, tensors)


def _read_file(file: Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file. Raises RevisionError where it is missing or cut."""
    if not file.is_file():
        raise RevisionError(f"{file}: no such file; get the checkpoint again, or train it to the end")
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise RevisionError(f"{file}: is cut or damaged ({error}); get it again") from None


def require_weights(saved: SavedWeights, loaded: Any) -> None:
    """Raise RevisionError unless the projector of the model `loaded` has the file's weights and all of its weights are
    finite. That its language model is whole is checked where it is loaded.
    """
    _require_projector(saved.projector_place, saved.projector, loaded)
    if saved.projector_place.name == LORA_FILE:
        _require_adapters_taken(saved.projector_place.parent, loaded)
    _require_finite(saved.folder, dict(loaded.named_parameters()))


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
    return file, read_tensors(file) if file.suffix == ".bin" else _read_file(file)


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


def _saved_names(folder: Path) -> dict[str, Path]:
    """The names of all weights in a folder, each with its file. Raises RevisionError where a part is missing or cut."""
    files = next((found for pattern in PATTERNS if (found := sorted(folder.glob(pattern)))), [])
    if not files:
        raise RevisionError(f"{folder}: holds no weights ({', '.join(PATTERNS)}); the training did not finish")
    for index in folder.glob(f"{files[0].name.split('-')[0].split('.')[0]}*.index.json"):
        parts = read_object(index).get("weight_map")
        missing = sorted({str(each) for each in parts.values()} - {f.name for f in files}) if parts else []
        if missing:
            raise RevisionError(f"{folder}: {missing[0]} of {index.name} is missing; get it again")
    names: dict[str, Path] = {}
    for file in files:
        require_regular(file)
        if file.suffix == ".bin":
            names |= dict.fromkeys(read_tensors(file), file)
            continue
        try:
            with safe_open(file, "pt") as opened:
                names |= dict.fromkeys(opened.keys(), file)
        except (SafetensorError, OSError) as error:
            raise RevisionError(f"{file}: is cut or damaged ({error}); get it again") from None
    return names


def _read(file: Path, name: str) -> torch.Tensor:
    if file.suffix == ".bin":
        return read_tensors(file)[name]
    with safe_open(file, "pt") as opened:
        return opened.get_tensor(name)
