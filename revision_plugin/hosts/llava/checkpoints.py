"""Checkpoint folders of a training: which are whole, which a kill cut short, and which are none of its own."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..._common.files import outline, read_object, sync, usual_mode, write_json
from ...errors import RevisionError

logger = logging.getLogger(__name__)
COMPLETE = "revision_complete.json"  # the last file of a checkpoint: without it a kill cut the others short
UNFINISHED = ".revision_unfinished"  # where the final files are written first
SAVING = ".revision_saving.json"  # beside the checkpoints, while one is written


def checkpoint_folders(out: Path) -> list[Path]:
    """All that is named like a checkpoint, in the order of the names."""
    return sorted(out.glob(f"{PREFIX_CHECKPOINT_DIR}-*"))


def begin(out: Path, name: str) -> Path:
    """Note that the folder `name` in OUT, a checkpoint or that of the final files, is being written, and give it."""
    write_json(out / SAVING, {"checkpoint": name})
    return out / name


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
    """Delete the checkpoint that a kill cut short, if there is one. Raises RevisionError for a checkpoint that changed
    since it was saved, and for a folder of that name which no training with the plugin made: it is left alone.
    """
    being_saved = read_object(out / SAVING).get("checkpoint") if (out / SAVING).is_file() else None
    for folder in checkpoint_folders(out):
        if (folder / COMPLETE).is_file():
            _require_unchanged(folder)
        elif folder.name == being_saved and not folder.is_symlink():
            logger.warning("%s: was cut short by a kill and is deleted", folder)
            shutil.rmtree(folder)
        else:
            raise RevisionError(
                f"{folder}: is no checkpoint that this training saved; move it away, or choose another --output_dir"
            )
    unfinished = out / UNFINISHED
    if unfinished.is_symlink() or (unfinished.exists() and being_saved != UNFINISHED):
        raise RevisionError(f"{unfinished}: is in the way of the training's own files; move it away")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed there
    (out / SAVING).unlink(missing_ok=True)


def _require_unchanged(folder: Path) -> None:
    saved = read_object(folder / COMPLETE).get("files")
    if not isinstance(saved, dict):  # of an older release, which kept no list
        return
    now = _files(folder)
    missing = sorted(saved.keys() - now.keys())
    changed = sorted(name for name in saved.keys() & now.keys() if saved[name] != now[name])
    if missing or changed:
        what = f"{missing[0]} is missing" if missing else f"{changed[0]} has changed"
        raise RevisionError(
            f"{folder}: {what} since it was saved, so the training cannot go on as it was; put the file back, or "
            "delete the folder to go on from the checkpoint before, or from the start"
        )


def newest_is_torn(out: Path) -> bool:
    """Whether the newest checkpoint is not whole yet."""
    numbered = [path for path in checkpoint_folders(out) if path.name.split("-")[-1].isdigit()]
    newest = max(numbered, key=lambda path: int(path.name.split("-")[-1]), default=None)
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
