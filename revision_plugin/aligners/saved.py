"""Opens saved aligners."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file

from .._common.files import hash_file, hash_json, is_count, read_object, require_types
from .._common.shared_folders import SharedKind, local_folder
from ..errors import RevisionError, first_line
from .base import ALIGNERS, FORMAT_VERSION, RECORD, WEIGHTS, Aligner, create
from .fit_report import FitReport

SHARED = SharedKind("aligner", "model", (RECORD, WEIGHTS))
NOT_OPTIONS = ("kind", "format_version", "method", "dim", "options", "parameters_hash", "record_hash")
RECORD_TYPES = {
    "method": lambda value: isinstance(value, str),
    "dim": lambda value: is_count(value) and value > 0,
    "options": lambda value: isinstance(value, dict),
    "parameters_hash": lambda value: isinstance(value, str),
}


def aligner_folder(path: str | Path) -> Path:
    """The folder of an aligner: `path`, or where `hf:OWNER/NAME@COMMIT` lies when it is downloaded."""
    return local_folder(path, SHARED)


def load_aligner(path: str | Path) -> Aligner:
    """Open a saved aligner: a folder, or `hf:OWNER/NAME@COMMIT` of a model repository in the hub.

    Raises RevisionError for one that is missing, cut, edited or not finite, or cannot be had from the hub.
    """
    path = aligner_folder(path)
    if not (path / RECORD).is_file():
        raise RevisionError(f"{path}: no {RECORD}, so not an aligner; make one with 'revision fit'")
    record = read_object(path / RECORD)
    if record.get("kind") != "aligner" or record.get("format_version") != FORMAT_VERSION:
        raise RevisionError(f"{path / RECORD}: not an aligner of format version {FORMAT_VERSION}; fit it again")
    require_types(record, RECORD_TYPES, str(path / RECORD), "fit the aligner again")
    known = record.pop("record_hash", None)  # aligners of old have none
    if known not in (None, hash_json(record)):
        raise RevisionError(f"{path / RECORD}: was edited or damaged; fit the aligner again")
    weights = path / WEIGHTS
    if not weights.is_file() or hash_file(weights) != record["parameters_hash"]:
        raise RevisionError(f"{weights}: missing, cut or edited; fit the aligner again")
    try:
        parameters = load_file(weights)
    except (SafetensorError, TypeError, AttributeError, ValueError) as error:
        raise RevisionError(f"{weights}: {error}; fit the aligner again") from None
    report = FitReport.from_json({k: v for k, v in record.items() if k not in NOT_OPTIONS}, str(path / RECORD))
    aligner_class = ALIGNERS.get(record["method"])
    aligner = create(aligner_class, aligner_class.saved_options(record["options"]))
    aligner = aligner.with_parameters(record["dim"], parameters)
    aligner._report, aligner.path = report, path
    _try(aligner, weights)
    return aligner


def _try(aligner: Aligner, weights: Path) -> None:
    """Raise RevisionError unless the parameters are finite and map a row."""
    for name in ("source_mean", "target_mean"):
        if aligner.parameters.get(name, np.empty(0)).shape != (aligner.dim,):
            words = name.replace("_", " ")
            raise RevisionError(f"{weights}: holds no {words} of {aligner.dim} dimensions; fit the aligner again")
    infinite = sorted(name for name, value in aligner.parameters.items() if not np.isfinite(value).all())
    if infinite:
        raise RevisionError(f"{weights}: '{infinite[0]}' is not finite; fit the aligner again on sound embeddings")
    try:
        mapped = aligner(torch.ones(1, aligner.dim))
    except (KeyError, RuntimeError, ValueError, IndexError, MemoryError) as error:
        reason = first_line(error)
        raise RevisionError(f"{weights}: its parameters do not fit together ({reason}); fit it again") from None
    if mapped.shape != (1, aligner.dim) or not mapped.isfinite().all():
        raise RevisionError(f"{weights}: its parameters map rows to none; fit the aligner again")
