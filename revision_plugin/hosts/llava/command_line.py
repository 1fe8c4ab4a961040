"""The command line of a LLaVA training, checked before LLaVA's own parser sees it."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..._common.files import read_object
from ...errors import RevisionError
from ...tower import TOWER_NAME
from ..command_line import checked_values

BUILT_IN_VERSIONS = ("v0", "v0.5")  # which LLaVA knows without a template


def check_arguments(arguments: Sequence[str]) -> None:
    """Raise RevisionError for flags that LLaVA's training lacks or would guess from their beginning, and for values
    that no training can have.
    """
    if {"-h", "--help"} & set(arguments):
        return  # LLaVA's own parser answers
    train = importlib.import_module("llava.train.train")
    types = (train.ModelArguments, train.DataArguments, train.TrainingArguments)
    _check_version(checked_values(arguments, types))


def _check_version(values: dict[str, Any]) -> None:
    """Raise RevisionError for a template that LLaVA would replace by Vicuna's, and what the plugin cannot resume."""
    if values.get("vision_tower") != TOWER_NAME:
        return
    known = {*importlib.import_module("llava.conversation").conv_templates, *BUILT_IN_VERSIONS}
    if values["version"] not in known:
        near = difflib.get_close_matches(values["version"], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"
        raise RevisionError(f"--version {values['version']}: no such conversation template{hint}")
    if values.get("save_only_model"):
        raise RevisionError("--save_only_model True: such a checkpoint cannot be resumed with the same result")
    settings = values.get("deepspeed")
    if isinstance(settings, str):
        read_object(Path(settings))
