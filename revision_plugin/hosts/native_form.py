"""What an HF-native folder is known by."""

from __future__ import annotations

from pathlib import Path

from .._common.files import hash_file, read_object
from ..errors import RevisionError

CONFIG, MODULE_FILE = "config.json", "modeling_revision.py"
TRAINED = "trained.safetensors"  # of a step's checkpoint: the weights that are trained, by their names
MODULE_PATH = Path(__file__).with_name("hf") / MODULE_FILE


def is_native(folder: Path) -> bool:
    """Whether the folder holds a checkpoint in the HF-native form, as far as its config says."""
    if not (folder / CONFIG).is_file():
        return False
    config = read_object(folder / CONFIG)
    vision = config.get("vision_config")
    kind = vision.get("model_type") if isinstance(vision, dict) else None
    return config.get("model_type") == "llava" and kind == "revision_vision"


def require_own_module(folder: Path) -> None:
    """Raise RevisionError unless the folder's module is this package's own, byte for byte: code that comes with data
    does not run here, and another release's folder may mean something else.
    """
    file = folder / MODULE_FILE
    if not is_native(folder):
        raise RevisionError(f"{folder}: is no HF-native folder; give one that `revision export` or --host hf wrote")
    if not file.is_file():
        raise RevisionError(f"{file}: is missing, so the folder is not whole; get it again")
    if hash_file(file) != hash_file(MODULE_PATH):
        raise RevisionError(
            f"{file}: is not this release's own (SHA-256 {hash_file(file)[:16]}): it was edited, or another release "
            "wrote it; write the folder again with this one"
        )
