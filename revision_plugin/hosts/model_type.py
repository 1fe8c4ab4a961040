"""What kind of language model a name stands for."""

from __future__ import annotations

from pathlib import Path

from transformers import PretrainedConfig

from .._common.files import read_object
from ..errors import RevisionError


def model_type(name: str) -> str:
    """The `model_type` of a language model's folder or hub name."""
    if Path(name).is_dir():
        return str(read_object(Path(name) / "config.json").get("model_type", ""))
    try:
        return str(PretrainedConfig.get_config_dict(name)[0].get("model_type", ""))
    except OSError as error:
        raise RevisionError(
            f"{name}: no folder, and not to be had from the hub: {str(error).splitlines()[0]}"
        ) from None
