"""Model folders: on disk or from the hub, whole, and with code of their own only by consent."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

from .._common.files import read_json
from ..errors import RevisionError

WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZER_PATTERNS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.*", "merges.txt")
COMMIT = re.compile(r"[0-9a-f]{40}")
_consent = False


def allow_remote_code() -> None:
    """What --trust-remote-code says: from here on this process runs code that comes with a model."""
    global _consent
    _consent = True


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
        shard_names = set(read_json(index).get("weight_map", {}).values())
        missing = sorted(name for name in shard_names if not (folder / name).is_file())
        if missing and any(Path(name).suffix == files[0].suffix for name in shard_names):
            raise RevisionError(f"{folder}: {missing[0]} of {index.name} is missing; the download is incomplete")
    for file in files:
        if file.suffix == ".safetensors":
            try:
                with safe_open(file, "np"):
                    pass
            except SafetensorError as error:
                raise RevisionError(f"{file}: is cut or damaged ({error}); download it again") from None
    return files


def tokenizer_files(folder: Path) -> list[Path]:
    """The files that decide how the folder's tokenizer cuts texts."""
    return [file for pattern in TOKENIZER_PATTERNS for file in folder.glob(pattern)]


def consented_code(spec: str, name: str, folder: Path) -> list[Path]:
    """`remote_code_files` of the model in `folder`, which may run: `require_consent` has passed; none for a model
    without.
    """
    if _code_targets(folder):
        require_consent(spec, name, folder)
    return remote_code_files(folder)


def remote_code_files(folder: Path) -> list[Path]:
    """The Python files that the folder's config names as the model's own code; none for a model that needs no code."""
    return sorted(folder.glob("*.py")) if _code_targets(folder) else []


def _code_targets(folder: Path) -> list[str]:
    """What the config's `auto_map` names: `module.Class`, or `OWNER/REPO--module.Class` for another repository's
    code.
    """
    config = folder / "config.json"
    mapped = (read_json(config).get("auto_map") or {}) if config.is_file() else {}
    targets = [target for value in mapped.values() for target in (value if isinstance(value, list) else [value])]
    return [target for target in targets if target]


def require_consent(spec: str, name: str, folder: Path) -> None:
    """Raise RevisionError unless code of the model in `folder` may run: by consent, and from the hub only at a fixed
    commit.
    """
    if not _consent:
        raise RevisionError(
            f"encoder '{spec}': {name} brings code of its own ({', '.join(_code_targets(folder))}); "
            "read it, and give --trust-remote-code to run it"
        )
    elsewhere = sorted({target.partition("--")[0] for target in _code_targets(folder) if "--" in target})
    if elsewhere:
        raise RevisionError(
            f"encoder '{spec}': the code of {name} lies in another repository ({', '.join(elsewhere)}), where it "
            "could change unseen; "
            "download it into the model's folder and name it in config.json without 'OWNER/REPO--'"
        )
    if not Path(name).is_dir() and not COMMIT.fullmatch(name.partition("@")[2]):
        raise RevisionError(
            f"encoder '{spec}': code from the hub runs only at a fixed commit; write "
            f"{name.partition('@')[0]}@{folder.name}"
        )
