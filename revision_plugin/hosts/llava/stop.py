"""LLaVA's trainer that stops at a signal, after which the same command resumes, and at a broken loss."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

from llava.constants import IMAGE_TOKEN_INDEX

from ..._common.flags import parse_flags
from ..curves import begin_curves
from ..engine import EngineCheck
from ..pace import Pace
from ..probe import ProbeCallback
from ..stop import StopOnSignal, exit_if_stopped, require_finite_loss
from .resume import uses_plugin
from .training import training


def finite_losses(original: Callable) -> Callable:
    """The Trainer's `training_step`, which counts what is read and stops at a loss that is not finite."""

    @functools.wraps(original)
    def training_step(self, model, inputs, *arguments, **keywords):
        if not uses_plugin(self):
            return original(self, model, inputs, *arguments, **keywords)
        self.revision_pace.count(inputs)
        loss = original(self, model, inputs, *arguments, **keywords)
        require_finite_loss(loss, self.state.global_step + 1)
        return loss

    return training_step


def paced_log(original: Callable) -> Callable:
    """The Trainer's `log`, whose lines of the loss say how fast the training goes."""

    @functools.wraps(original)
    def log(self, logs, *arguments, **keywords):
        if "loss" in logs and uses_plugin(self):
            logs = {**logs, **self.revision_pace.take()}
        return original(self, logs, *arguments, **keywords)

    return log


def stoppable(original: Callable) -> Callable:
    """The Trainer's `train`: checks its engine, begins its curves and its probe; a stopped one exits with 128 + signal
    before LLaVA saves it as finished.
    """

    @functools.wraps(original)
    def train(self, *arguments, **keywords):
        self.add_callback(EngineCheck(self))
        if not uses_plugin(self):
            return original(self, *arguments, **keywords)
        callback = StopOnSignal()
        self.add_callback(callback)
        self.add_callback(training.checks)
        if training.probe is not None:
            self.add_callback(ProbeCallback(self, training.probe))
        begin_curves(self, parse_flags(sys.argv[1:]))
        tower = self.model.get_vision_tower()
        visual = tower.num_patches * tower.views.count
        self.revision_pace = Pace(self, place=IMAGE_TOKEN_INDEX, visual=visual - 1)
        result = original(self, *arguments, **keywords)
        exit_if_stopped(callback, self)
        return result

    return train
