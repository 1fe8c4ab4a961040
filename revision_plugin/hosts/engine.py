"""Asserts that training runs under the engine its flags ask for.

With ACCELERATE_USE_CPU or --use_cpu, accelerate runs plain DistributedDataParallel under a --deepspeed flag and says
nothing; a ZeRO run would then save no memory at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from .._common.files import read_object
from ..errors import RevisionError


def check_engine(arguments: Any, model: Any) -> None:
    """Raise RevisionError unless `model`, as the Trainer steps it, is what `arguments.deepspeed` asks for."""
    if not arguments.deepspeed:
        return
    engine = type(model).__name__
    if engine != "DeepSpeedEngine":
        raise RevisionError(
            f"--deepspeed {arguments.deepspeed} was given, but training runs under {engine}; unset ACCELERATE_USE_CPU, "
            "leave out --use_cpu, and on a machine without a GPU set DS_ACCELERATOR=cpu"
        )
    settings = arguments.deepspeed if isinstance(arguments.deepspeed, dict) else read_object(Path(arguments.deepspeed))
    stage = settings.get("zero_optimization", {}).get("stage", 0)
    if model.zero_optimization_stage() != stage:
        raise RevisionError(
            f"--deepspeed {arguments.deepspeed} asks for ZeRO stage {stage}, the engine runs stage "
            f"{model.zero_optimization_stage()}"
        )


class EngineCheck(TrainerCallback):
    """Checks `trainer`'s engine before its first step."""

    def __init__(self, trainer: Any):
        self._trainer = trainer

    def on_train_begin(self, args, state, control, **keywords):
        check_engine(args, self._trainer.model_wrapped)
