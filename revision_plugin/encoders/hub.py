"""Model folders: on disk or from the hub, and whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

from .._common.files import read_object, require_regular
from ..errors import RevisionError, library_failures

WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZER_PATTERNS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.*", "merges.txt")


def model_folder(spec: str, name: str) -> Path:
    """The folder of a local model, or of a hub model NAME or NAME@REVISION in the hub's cache; HF_HUB_OFFLINE is
    respected.

    Raises RevisionError where it cannot be had.
    """
    if Path(name).is_dir():
        return Path(name)
    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise RevisionError(
            f"encoder '{spec}': '{name}' is no folder and cannot be had from the hub ({type(error).__name__}); "
            "give a local folder"
        ) from None


def weight_files(folder: Path) -> list[Path]:
    """The folder's weights. Raises RevisionError where there are none, a shard is missing, or one is cut."""
    files = next((matches for pattern in WEIGHT_PATTERNS if (matches := sorted(folder.glob(pattern)))), [])
    if not files:
        raise RevisionError(f"{folder}: no weights ({', '.join(WEIGHT_PATTERNS)}); the download is incomplete")
    for index in folder.glob("*.index.json"):
        names = read_object(index).get("weight_map", {})
        shard_names = {str(name) for name in names.values()} if isinstance(names, dict) else set()
        missing = sorted(name for name in shard_names if not (folder / name).is_file())
        if missing and any(Path(name).suffix == files[0].suffix for name in shard_names):
            raise RevisionError(f"{folder}: {missing[0]} of {index.name} is missing; the download is incomplete")
    for file in files:
        require_regular(file)
        if file.suffix == ".safetensors":
            try:
                with safe_open(file, "np"):
                    pass
            except SafetensorError as error:
                raise RevisionError(f"{file}: is cut or damaged ({error}); download it again") from None
    return files


@contextlib.contextmanager
def opening(spec: str) -> Iterator[None]:
    """What a library says of a folder that is cut, damaged or of another kind, as a RevisionError in one line."""
    with library_failures(f"encoder '{spec}': does not load on transformers {version('transformers')}"):
        yield


def require_all_weights(spec: str, loading: dict) -> None:
    """Raise RevisionError where transformers made weights up that the files lack, or that have another shape there."""
    lacking = sorted(map(str, loading["missing_keys"])) or sorted(str(key[0]) for key in loading["mismatched_keys"])
    if lacking:
        raise RevisionError(f"encoder '{spec}': its files lack the weights '{lacking[0]}' ({len(lacking)} in all)")


def tokenizer_files(folder: Path) -> list[Path]:
    """The files that decide how the folder's tokenizer cuts texts."""
    return [file for pattern in TOKENIZER_PATTERNS for file in folder.glob(pattern)]
