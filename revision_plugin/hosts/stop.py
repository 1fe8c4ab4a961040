"""What ends a training before its last step: a signal, after which the same command resumes, or a broken loss."""

from __future__ import annotations

import signal
import sys
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from ..errors import RevisionError


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


def exit_if_stopped(callback: StopOnSignal, trainer: Any) -> None:
    """Exit with 128 + signal where one came to a training that has ended now."""
    if not callback.number:
        return
    if trainer.args.should_save:
        print(
            f"error: stopped at step {trainer.state.global_step} of {trainer.state.max_steps}; repeat the "
            "command to resume",
            file=sys.stderr,
        )
    raise SystemExit(128 + callback.number)


def require_finite_loss(loss: torch.Tensor, step: int) -> None:
    """Raise RevisionError for a loss that is not finite: transformers logs it as 0.0, goes on and saves what came of
    it.
    """
    if not torch.isfinite(loss).all():
        raise RevisionError(
            f"the loss of step {step} is {float(loss.max())}; lower --learning_rate, or look "
            "for broken data (a batch in which every label is masked); earlier checkpoints are kept"
        )
