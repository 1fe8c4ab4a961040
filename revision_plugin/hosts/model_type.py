"""What kind of language model a name stands for, and whether one can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, PretrainedConfig, __version__

from .._common.files import read_object
from ..errors import RevisionError

TEXT_MARKS = ("ForCausalLM", "LMHeadModel")  # how transformers calls its language models


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


def causal_classes(kind: str) -> tuple[Any, Any]:
    """The config class and the model class of a causal language model of type `kind` in the installed transformers.

    Raises RevisionError where there is none, or one that takes more than text.
    """
    if kind not in CONFIG_MAPPING:
        raise RevisionError(
            f"a language model of type '{kind}': transformers {__version__} has no class for it; install a version "
            "that has one"
        )
    config: Any = CONFIG_MAPPING[kind]
    parts = sorted(getattr(config, "sub_configs", {}))
    if "text_config" in parts:
        raise RevisionError(
            f"a model of type '{kind}' is multimodal already ({', '.join(parts)}); give its language model alone, "
            "which `python scripts/language_model.py` writes out of it"
        )
    causal: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(config, None)
    if causal is None or not causal.__name__.endswith(TEXT_MARKS):
        raise RevisionError(f"a model of type '{kind}' is no causal language model; give one that writes text")
    return config, causal
