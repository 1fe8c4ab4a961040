"""LLaVA's trainer that stops at a signal, after which the same command resumes, and at a broken loss."""

from __future__ import annotations

import functools
from collections.abc import Callable

from ..engine import EngineCheck
from ..stop import StopOnSignal, exit_if_stopped, require_finite_loss
from .resume import uses_plugin


def finite_losses(original: Callable) -> Callable:
    """The Trainer's `training_step`, which stops at a loss that is not finite."""

    @functools.wraps(original)
    def training_step(self, *arguments, **keywords):
        loss = original(self, *arguments, **keywords)
        if uses_plugin(self):
            require_finite_loss(loss, self.state.global_step + 1)
        return loss

    return training_step


def stoppable(original: Callable) -> Callable:
    """The Trainer's `train`: checks its engine; a stopped one exits with 128 + signal before LLaVA saves it as
    finished.
    """

    @functools.wraps(original)
    def train(self, *arguments, **keywords):
        self.add_callback(EngineCheck(self))
        if not uses_plugin(self):
            return original(self, *arguments, **keywords)
        callback = StopOnSignal()
        self.add_callback(callback)
        result = original(self, *arguments, **keywords)
        exit_if_stopped(callback, self)
        return result

    return train
