"""The files in which weights come: read without running code, and whole or refused."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import logging as transformers_logging

from .._common.files import read_object, require_regular
from .._common.verbosity import Verbosity, verbosity
from ..errors import RevisionError, first_line, library_failures

PROJECTOR = "mm_projector."
NUMBER_TYPES = {name: getattr(torch, name) for name in ("float32", "float16", "bfloat16")}
PATTERNS = ("model*.safetensors", "pytorch_model*.bin")


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Without transformers' bar, and its warnings of new weights, which it gives for healthy checkpoints, too:
    `require_weights` says what is missing. With `--verbose` it says all.
    """
    if verbosity() is Verbosity.VERBOSE:
        yield
        return
    before, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        if bar:
            transformers_logging.enable_progress_bar()


def number_type(config: dict) -> torch.dtype:
    """The number type that a model was saved in, as its config says; float32 where it says none."""
    return NUMBER_TYPES.get(str(config.get("dtype", config.get("torch_dtype"))), torch.float32)


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
    require_finite_tensors(path, tensors)


def require_finite_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    broken = sorted(name for name, value in tensors.items() if not torch.isfinite(value).all())
    if broken:
        raise RevisionError(f"{path}: the weights '{broken[0]}' are not finite; train it again")


def read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file. Raises RevisionError where it is missing or cut."""
    if not file.is_file():
        raise RevisionError(f"{file}: no such file; get the checkpoint again, or train it to the end")
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise RevisionError(f"{file}: is cut or damaged ({error}); get it again") from None


def saved_names(folder: Path) -> dict[str, Path]:
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
        names |= names_in(file)
    return names


def names_in(file: Path) -> dict[str, Path]:
    """The names of the weights in a file, each with the file. Raises RevisionError where it is missing or cut."""
    require_regular(file)
    if file.suffix == ".bin":
        return dict.fromkeys(read_tensors(file), file)
    try:
        with safe_open(file, "pt") as opened:
            return dict.fromkeys(opened.keys(), file)
    except (SafetensorError, OSError) as error:
        raise RevisionError(f"{file}: is cut or damaged ({error}); get it again") from None


def read_tensor(file: Path, name: str) -> torch.Tensor:
    if file.suffix == ".bin":
        return read_tensors(file)[name]
    with safe_open(file, "pt") as opened:
        return opened.get_tensor(name)
