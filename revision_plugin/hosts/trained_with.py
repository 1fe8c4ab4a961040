"""What a checkpoint was trained with, as far as its folder and run.json tell: its record, step, language model and
aligner.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from .._common.files import is_count, read_object
from ..aligners import Aligner, load_aligner
from ..errors import RevisionError
from . import run_record
from .tower_record import checked_record

CONFIG, STATE = "config.json", "trainer_state.json"
STEP_PREFIX = "checkpoint-"  # as the Trainer calls a step's folder
STAGES = 8  # that a projector may have passed through
REMEDY = "give it with --aligner"


def is_step(folder: Path) -> bool:
    """Whether a folder is called as the Trainer calls a checkpoint."""
    return folder.resolve().name.startswith(STEP_PREFIX)


def run_folder(folder: Path) -> Path:
    """The --output_dir of the training that a checkpoint is of: around a step's folder, else the folder itself."""
    place = folder.resolve()
    return place.parent if is_step(folder) and not (place / run_record.RECORD).is_file() else place


def checkpoint_step(folder: Path) -> int | None:
    """How many steps a checkpoint was trained: as the Trainer's state says, else its name; None where neither does."""
    if (folder / STATE).is_file():
        step = read_object(folder / STATE).get("global_step")
        if not is_count(step):
            raise RevisionError(f"{folder / STATE}: says no step; it was edited or cut")
        return step
    number = folder.resolve().name.rpartition("-")[2]
    return int(number) if is_step(folder) and number.isascii() and number.isdigit() else None


def _run(folder: Path) -> dict[str, Any]:
    file = run_folder(folder) / run_record.RECORD
    return read_object(file) if file.is_file() else {}


def trained_flag(folder: Path, flag: str) -> str | None:
    """A flag of the training, as run.json has it; None where it has none."""
    command = _run(folder).get("command")
    value = command.get(flag) if isinstance(command, dict) else None
    return value if isinstance(value, str) else None


def trained_record(folder: Path) -> dict:
    """What a checkpoint's config.json says of its tower, or run.json where a step's folder has no config.json.

    Raises RevisionError where neither does: it is no checkpoint of a training with the plugin's tower.
    """
    file = folder / CONFIG
    config = read_object(file) if file.is_file() else None
    if config is None and is_step(folder):
        file = run_folder(folder) / run_record.RECORD
        resolved = _run(folder).get("resolved")
        config = resolved.get("model") if isinstance(resolved, dict) else None
    record = config.get("revision") if isinstance(config, dict) else None
    if record is None:
        what = "is a model that was" if (folder / CONFIG).is_file() else "is no checkpoint; give one"
        not_ours = " not" if (folder / CONFIG).is_file() else ""
        raise RevisionError(f"{folder}: {what}{not_ours} trained with --vision_tower revision")
    return checked_record(record, str(file))


def language_model(folder: Path, record: dict, base: str | None) -> Path:
    """The folder of the language model that a checkpoint was trained over: `base`, else what run.json says.

    Raises RevisionError where neither is there, or it holds other weights than the training's.
    """
    name = base or trained_flag(folder, run_record.MODEL_FLAG)
    if name is None:
        raise RevisionError(f"{folder}: holds no language model, and no run.json names it; give it with --base")
    said = f"--base {name}" if base else f"{folder}: its language model {name}"
    place = Path(name).expanduser()
    if not place.is_dir():
        place = _cached(name, said)
    now, trained = run_record.weights_identity(name), record.get("language_model")
    if None not in (now, trained) and now != trained:
        raise RevisionError(f"{said}: holds other weights than the language model that {folder} was trained over")
    if not (place / CONFIG).is_file():
        raise RevisionError(f"{said}: no language model there (no {CONFIG})")
    return place


def _cached(name: str, said: str) -> Path:
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
        raise RevisionError(f"{said}: is no folder, and not in the hub's cache; give a folder with --base") from None


def trained_aligner(folder: Path, record: dict, *, parts: bool = False) -> Aligner:
    """The aligner that a checkpoint's training gave its texts, from where run.json says that it lies: its own, or, of a
    training on images alone, that of the stage its projector came from.

    Raises RevisionError where there is none, it has gone, or it is another one by now.
    """
    name = "part_aligner" if parts else "aligner"
    here = folder
    for _ in range(STAGES):
        trained = record.get(name)
        if trained:
            return _same_aligner(trained_flag(here, f"--revision_{name}"), trained, folder)
        before = trained_flag(here, "--pretrain_mm_mlp_adapter")
        if before is None:
            break
        here = Path(before).expanduser()
        here = here if here.is_dir() else here.parent
        if not here.is_dir():
            raise RevisionError(f"{folder}: its projector came from {before}, which has gone; its aligner: {REMEDY}")
        record = trained_record(here)
    of_parts = " of parts" if parts else ""
    raise RevisionError(f"{folder}: no stage of its training that is known had an aligner{of_parts}; {REMEDY}")


def _same_aligner(place: str | None, trained: dict, folder: Path) -> Aligner:
    if place is None:
        raise RevisionError(f"{folder}: no run.json says where its aligner lies; {REMEDY}")
    try:
        aligner = load_aligner(place)
    except RevisionError as error:
        raise RevisionError(f"{folder}: its aligner does not open ({error}); {REMEDY}") from None
    if aligner.identity["hash"] != trained.get("hash"):
        raise RevisionError(f"{folder}: was trained with another aligner than the one at {place} now; {REMEDY}")
    return aligner
