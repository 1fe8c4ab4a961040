"""A DeepSpeed flag that gets another engine is refused."""

from types import SimpleNamespace

import pytest
from conftest import ROOT

from revision_plugin.errors import RevisionError
from revision_plugin.hosts.engine import check_engine

ZERO2 = ROOT / "scripts" / "zero2.json"


def test_another_engine_than_asked_for_is_refused():
    class DeepSpeedEngine:
        def __init__(self, stage):
            self.zero_optimization_stage = lambda: stage

    arguments = SimpleNamespace(deepspeed=str(ZERO2))
    check_engine(SimpleNamespace(deepspeed=None), object())
    check_engine(arguments, DeepSpeedEngine(2))
    with pytest.raises(RevisionError, match="training runs under DistributedDataParallel; unset ACCELERATE_USE_CPU"):
        check_engine(arguments, type("DistributedDataParallel", (), {})())
    with pytest.raises(RevisionError, match="asks for ZeRO stage 2, the engine runs stage 0"):
        check_engine(arguments, DeepSpeedEngine(0))
