"""The plugin's flags in LLaVA's argument dataclasses."""

from __future__ import annotations

import dataclasses
from typing import Any


def _flag(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


def model_arguments(original: type) -> type:
    """LLaVA's ModelArguments with the tower's flags."""
    flags = [
        ("revision_encoder", str | None, _flag(None, "Encoder spec of the pseudo-vision tower.")),
        ("revision_aligner", str | None, _flag(None, "Folder of a fitted aligner; needed for text embeddings.")),
        ("revision_trust_remote_code", bool, _flag(False, "Run code that the encoder's model brings.")),
        ("revision_tokens", int, _flag(1, "Visual tokens per image; the reference implementation copies to 576.")),
    ]
    return dataclasses.make_dataclass("ModelArguments", flags, bases=(original,))


def data_arguments(original: type) -> type:
    """LLaVA's DataArguments with the store that is joined to a JSON."""
    text = "Text store joined by id to a LLaVA JSON's items without image."
    return dataclasses.make_dataclass(
        "DataArguments", [("revision_store", str | None, _flag(None, text))], bases=(original,)
    )
