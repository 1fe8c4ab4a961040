"""Opens saved aligners."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file

from .._common.files import hash_file, read_json
from ..errors import RevisionError
from .base import ALIGNERS, FORMAT_VERSION, RECORD, WEIGHTS, Aligner, create
from .fit_report import FitReport


def load_aligner(path: str | Path) -> Aligner:
    """Open a saved aligner. Raises RevisionError for anything missing, cut, edited or of another version."""
    path = Path(path)
    if not (path / RECORD).is_file():
        raise RevisionError(f"{path}: no {RECORD}, so not an aligner; make one with 'revision fit'")
    record = read_json(path / RECORD)
    if record.get("kind") != "aligner" or record.get("format_version") != FORMAT_VERSION:
        raise RevisionError(f"{path / RECORD}: not an aligner of format version {FORMAT_VERSION}; fit it again")
    missing = sorted({"method", "dim", "options", "parameters_hash"} - set(record))
    if missing:
        raise RevisionError(f"{path / RECORD}: lacks {', '.join(missing)}; fit the aligner again")
    weights = path / WEIGHTS
    if not weights.is_file() or hash_file(weights) != record["parameters_hash"]:
        raise RevisionError(f"{weights}: missing, cut or edited; fit the aligner again")
    try:
        parameters = load_file(weights)
    except SafetensorError as error:
        raise RevisionError(f"{weights}: {error}; fit the aligner again") from None
    aligner_keys = ("kind", "format_version", "method", "dim", "options", "parameters_hash")
    report = FitReport.from_json({k: v for k, v in record.items() if k not in aligner_keys}, str(path / RECORD))
    aligner = create(ALIGNERS.get(record["method"]), record["options"]).with_parameters(record["dim"], parameters)
    aligner._report, aligner.path = report, path
    return aligner
