"""Arrays and a JSON record in one safetensors file, under one hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import RevisionError, first_line
from .files import hash_json, parse_json, require_regular, whole_file

RECORD = "revision"  # the key of the file's metadata that holds the record


def record_hash(record: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of a record and the arrays beside it, in hex."""
    digest = hashlib.sha256(hash_json(record).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def write_array_file(path: Path, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write `path`, whole or not at all. Raises RevisionError where it cannot be written."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps({**record, "hash": record_hash(record, arrays)})
    try:
        with whole_file(path) as handle:
            handle.write(save(arrays, metadata={RECORD: text}))
    except OSError as error:
        raise RevisionError(f"{path}: cannot be written: {error.strerror or error}") from None


def read_array_file(path: Path, remedy: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The record and arrays of a file that `write_array_file` wrote; the record keeps its `hash`.

    Raises RevisionError, with the `remedy`, for any other file, and for one that was cut or edited.
    """
    require_regular(path)
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(RECORD)
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError, MemoryError) as error:
        raise RevisionError(f"{path}: not a whole safetensors file ({first_line(error)}); {remedy}") from None
    record = parse_json(text, str(path)) if text is not None else None
    if not isinstance(record, dict):
        raise RevisionError(f"{path}: holds no record of this package's; {remedy}")
    known = record.pop("hash", None)
    if known != record_hash(record, arrays):
        raise RevisionError(f"{path}: was edited or damaged; {remedy}")
    return {**record, "hash": known}, arrays
