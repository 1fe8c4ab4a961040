"""Checkpoint folders of a training: which are whole, which a kill cut short, and which are none of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers.trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .._common.distributed import launched_rank
from .._common.files import outline, read_object, sync, usual_mode, write_json
from ..errors import RevisionError
from .run_record import COMPLETE

logger = logging.getLogger(__name__)
UNFINISHED = ".revision_unfinished"  # where the final files are written first
SAVING = ".revision_saving.json"  # beside the checkpoints, while one is written


def checkpoint_folders(out: Path) -> list[Path]:
    """All that is named like a checkpoint, in the order of the names."""
    return sorted(out.glob(f"{PREFIX_CHECKPOINT_DIR}-*"))


def begin(out: Path, name: str) -> Path:
    """Note that the folder `name` in OUT, a checkpoint or that of the final files, is being written, and give it."""
    write_json(out / SAVING, {"checkpoint": name})
    return out / name


@contextlib.contextmanager
def deleting_older(out: Path) -> Iterator[None]:
    """Inside, older checkpoints in OUT are deleted: what a kill then leaves of one is none that has changed."""
    whole = [folder for folder in checkpoint_folders(out) if (folder / COMPLETE).is_file()]
    write_json(out / SAVING, {"older": [folder.name for folder in sorted(whole, key=_step)[:-1]]})
    yield
    (out / SAVING).unlink(missing_ok=True)


def complete(folder: Path) -> None:
    """Mark a checkpoint as whole, with what its files are; all of it is on the disk then."""
    usual_mode(folder)
    for path in folder.rglob("*"):
        sync(path)
    write_json(folder / COMPLETE, {"files": _files(folder)})
    (folder.parent / SAVING).unlink(missing_ok=True)


def _files(folder: Path) -> dict[str, list]:
    return outline((path for path in folder.rglob("*") if path.is_file() and path.name != COMPLETE), folder)


def tidy(out: Path) -> None:
    """Delete the checkpoint that a kill cut short, and what a kill left of an older one that was being deleted. Raises
    RevisionError for a checkpoint that changed since it was saved, and for a folder of that name which no training with
    the plugin made: it is left alone.
    """
    noted = read_object(out / SAVING) if (out / SAVING).is_file() else {}
    being_saved, being_deleted = noted.get("checkpoint"), noted.get("older", [])
    for folder in checkpoint_folders(out):
        problem = _difference(folder)
        if problem and folder.name in (being_saved, *being_deleted) and not folder.is_symlink():
            logger.warning("%s: was cut short by a kill and is deleted", folder)
            shutil.rmtree(folder)
        elif problem and (folder / COMPLETE).is_file():
            raise RevisionError(
                f"{folder}: {problem} since it was saved, so the training cannot go on as it was; put the file back, "
                "or delete the folder to go on from the checkpoint before, or from the start"
            )
        elif problem:
            raise RevisionError(
                f"{folder}: is no checkpoint that this training saved; move it away, or choose another --output_dir"
            )
    unfinished = out / UNFINISHED
    if unfinished.is_symlink() or (unfinished.exists() and being_saved != UNFINISHED):
        raise RevisionError(f"{unfinished}: is in the way of the training's own files; move it away")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed there
    (out / SAVING).unlink(missing_ok=True)


def _step(folder: Path) -> int:
    """The step at which a checkpoint was saved, by its name; -1 for other names."""
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _difference(folder: Path) -> str | None:
    """How a checkpoint differs from what was saved, in words; None for a whole one."""
    if not (folder / COMPLETE).is_file():
        return "is not whole"
    saved = read_object(folder / COMPLETE).get("files")
    if not isinstance(saved, dict):  # of an older release, which kept no list
        return None
    now = _files(folder)
    missing = sorted(saved.keys() - now.keys())
    changed = sorted(name for name in saved.keys() & now.keys() if saved[name] != now[name])
    return f"{missing[0]} is missing" if missing else f"{changed[0]} has changed" if changed else None


def last_step(out: Path) -> int | None:
    """The step of the newest checkpoint, from which a training in OUT goes on; None where there is none."""
    return max((step for step in map(_step, checkpoint_folders(out)) if step >= 0), default=None)


def newest_is_torn(out: Path) -> bool:
    """Whether the newest checkpoint is not whole yet."""
    newest = max((path for path in checkpoint_folders(out) if _step(path) >= 0), key=_step, default=None)
    return newest is not None and not (newest / COMPLETE).exists()


def require_finite(model: Any) -> None:
    """Raise RevisionError where a trained parameter of this process (under ZeRO-3 its part) is not finite."""
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        values = getattr(parameter, "ds_tensor", parameter).detach()
        if values.is_floating_point() and not torch.isfinite(values).all():
            raise RevisionError(
                f"the weights '{name}' are not finite, so nothing is saved; lower --learning_rate, or look for "
                "broken data"
            )


def publish(out: Path) -> None:
    """Move the final files from where they were written into OUT, each whole and the weights last, so that OUT holds a
    finished run or none.
    """
    unfinished = out / UNFINISHED
    usual_mode(unfinished)
    for path in sorted(unfinished.iterdir(), key=_weights_last):
        sync(path)
        os.replace(path, out / path.name)
    unfinished.rmdir()
    (out / SAVING).unlink(missing_ok=True)
    sync(out)


def _weights_last(path: Path) -> tuple[int, str]:
    marks = ("mm_projector.bin", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    return (marks.index(path.name) + 1 if path.name in marks else 0, path.name)


def rotate(trainer: Any, folder: str) -> None:
    """Delete the older checkpoints of `trainer`, as its arguments say."""
    if hasattr(trainer, "_rotate_checkpoints"):
        trainer._rotate_checkpoints(use_mtime=False, output_dir=folder)
        return
    limit, best = trainer.args.save_total_limit, trainer.state.best_model_checkpoint
    rotate_checkpoints: Any = getattr(transformers.trainer, "rotate_checkpoints")  # noqa: B009  (transformers 4 has none)
    rotate_checkpoints(output_dir=folder, save_total_limit=limit, best_model_checkpoint=best, use_mtime=False)


def wait_for_all() -> None:
    """A barrier where there are several processes."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.barrier()


def tidy_for_all(out: Path) -> None:
    """`tidy`, by one process; all processes return when that is done."""
    if launched_rank() == 0:
        tidy(out)
    wait_for_all()
