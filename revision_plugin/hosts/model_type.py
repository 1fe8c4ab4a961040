"""What kind of language model a name stands for."""

from __future__ import annotations

from pathlib import Path

from transformers import PretrainedConfig

from .._common.files import read_json


def model_type(name: str) -> str:
    """The `model_type` of a language model's folder or hub name."""
    if Path(name).is_dir():
        return read_json(Path(name) / "config.json").get("model_type", "")
    return PretrainedConfig.get_config_dict(name)[0].get("model_type", "")
