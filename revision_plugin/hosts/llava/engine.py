"""Asserts that training runs under the engine its flags ask for.

With ACCELERATE_USE_CPU or --use_cpu, accelerate runs plain DistributedDataParallel under a --deepspeed flag and says
nothing; a ZeRO run would then use the memory of none.
"""

from __future__ import annotations

import functools
from pathlib import Path

from ..._common.files import read_json
from ...errors import RevisionError


def check_engine(arguments, model) -> None:
    """Raise RevisionError unless `model`, as the Trainer steps it, is what `arguments.deepspeed` asks for."""
    if not arguments.deepspeed:
        return
    found = type(model).__name__
    if found != "DeepSpeedEngine":
        raise RevisionError(
            f"--deepspeed {arguments.deepspeed} was given, but training runs under {found}; unset ACCELERATE_USE_CPU, "
            "leave out --use_cpu, and on a machine without a GPU set DS_ACCELERATOR=cpu"
        )
    settings = arguments.deepspeed if isinstance(arguments.deepspeed, dict) else read_json(Path(arguments.deepspeed))
    wanted = settings.get("zero_optimization", {}).get("stage", 0)
    if model.zero_optimization_stage() != wanted:
        raise RevisionError(
            f"--deepspeed {arguments.deepspeed} asks for ZeRO stage {wanted}, the engine runs stage {model.zero_optimization_stage()}"
        )


def checked_step(original):
    """The Trainer's `training_step` that checks the engine before its first step."""

    @functools.wraps(original)
    def training_step(self, model, *arguments, **keywords):
        if not getattr(self, "revision_engine_checked", False):
            check_engine(self.args, model)
            self.revision_engine_checked = True
        return original(self, model, *arguments, **keywords)

    return training_step
