"""The curves of a training (`--report_to`): asked for before anything is loaded, and gone on with by a resumed one."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.integrations import integration_utils

from .._common import trackers
from .._common.files import read_object
from ..errors import RevisionError
from . import checkpoints, run_record

RUN = "run_name"  # in run.json; for wandb, whose names need not be unique, its id as well
NO_ID = re.compile(r"[^A-Za-z0-9._-]")  # what wandb does not take in an id
NO_TRACKER, EVERY_TRACKER = "none", "all"


def require_tracker(name: Any) -> None:
    """Raise RevisionError where `name`, the value of --report_to, is no tracker of transformers, or its library is not
    there: transformers says so once the language model is loaded.
    """
    for each in [name] if isinstance(name, str) else name or []:
        known = integration_utils.INTEGRATION_TO_CALLBACK
        if each not in (*known, NO_TRACKER, EVERY_TRACKER):
            raise RevisionError(f"--report_to {each}: no such tracker; there are {', '.join(sorted(known))}")
        if each in trackers.NAMES:
            trackers.require_installed(each)


def begin_curves(trainer: Any, given: Mapping[str, str]) -> None:
    """Give a training's trackers one run, under a name that OUT/run.json keeps, so that a resumed training draws on in
    it. `given` are the flags; what these or the trackers' own variables say stays as it is.

    tensorboard writes into OUT/runs/NAME, wandb into OUT/wandb; trackio's Space is the one that is asked for, or none.
    What a killed run logged after its last checkpoint is drawn again, at the same steps.
    """
    args = trainer.args
    if not args.report_to or not trainer.is_world_process_zero():
        return
    out = Path(args.output_dir)
    name = read_object(out / run_record.RECORD).get(RUN)
    if not isinstance(name, str):
        name = f"{NO_ID.sub('-', out.resolve().name)[:64]}-{secrets.token_hex(4)}"
        run_record.add(out, RUN, name)
    if "--run_name" not in given:
        args.run_name = name
    if "--trackio_space_id" not in given:
        args.trackio_space_id = None  # transformers 4 would upload
    for variable, value in (("WANDB_DIR", str(out)), ("WANDB_RUN_ID", name), ("WANDB_RESUME", "allow")):
        os.environ.setdefault(variable, value)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, integration_utils.TensorBoardCallback):
            callback.tb_writer = _writer(out, name, args, given)


def _writer(out: Path, name: str, args: Any, given: Mapping[str, str]) -> Any:
    """tensorboard's writer, which hides what stands after the checkpoint that the training goes on from."""
    place = args.logging_dir if "--logging_dir" in given else None
    step = checkpoints.last_step(out)
    return trackers.tensorboard_writer(name, out, place=place, purge_step=None if step is None else step + 1)
