"""What ends a training before its last step: a signal, after which the same command resumes, or a broken loss."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from ...errors import RevisionError
from .engine import EngineCheck
from .resume import uses_plugin


class StopOnSignal(TrainerCallback):
    """Saves and stops once a signal came to any of the processes; `number` is the signal's."""

    number = 0

    def on_train_begin(self, args, state, control, **keywords):
        self._before = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, number, frame):
        self.number = number
        signal.signal(number, signal.SIG_DFL)  # a second one kills

    def on_step_end(self, args, state, control, **keywords):
        self.number = _largest(self.number, args)
        if self.number and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
        else:
            self.number = 0

    def on_train_end(self, args, state, control, **keywords):
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _largest(number: int, args) -> int:
    """The largest signal number of all processes: they must stop after the same step."""
    if args.world_size == 1:
        return number
    shared = torch.tensor([number], device=args.device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return int(shared)


def finite_losses(original: Callable) -> Callable:
    """The Trainer's `training_step`, which stops at a loss that is not finite: transformers logs it as 0.0, goes on and
    saves what came of it.
    """

    @functools.wraps(original)
    def training_step(self, *arguments, **keywords):
        loss = original(self, *arguments, **keywords)
        if uses_plugin(self) and not torch.isfinite(loss).all():
            raise RevisionError(
                f"the loss of step {self.state.global_step + 1} is {float(loss.max())}; lower --learning_rate, or look "
                "for broken data (a batch in which every label is masked); earlier checkpoints are kept"
            )
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
        if callback.number:
            if self.args.should_save:
                print(
                    f"error: stopped at step {self.state.global_step} of {self.state.max_steps}; repeat the "
                    "command to resume",
                    file=sys.stderr,
                )
            raise SystemExit(128 + callback.number)
        return result

    return train
