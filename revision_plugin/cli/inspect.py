"""`revision inspect`: what a folder is, and whether it is whole."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .._common.files import read_object
from .._common.shared_folders import HubError, is_shared
from ..aligners import load_aligner
from ..aligners.auto import choice_table
from ..aligners.base import RECORD
from ..aligners.merged_fit import read_sums
from ..aligners.saved import aligner_folder
from ..embeddings.addresses import store_name
from ..embeddings.manifest import MANIFEST
from ..embeddings.store import Store, store_folder
from ..encoders import Identity
from ..errors import RevisionError, shown
from ..hosts.native_form import is_native
from ..hosts.tower_record import checked_record
from .arguments import add_cache_size


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=store_name)
    parser.add_argument("--json", action="store_true")
    add_cache_size(parser)


def run(a: argparse.Namespace) -> None:
    report = inspect_path(a.path)
    if a.json:
        print(json.dumps(report, indent=1))
        return
    choice = report.pop("auto", None)
    print("\n".join(f"{k}: {shown(v)}" for k, v in report.items()))
    if choice:
        print(f"chosen by auto: {choice['chosen']}; {choice['reason']}\n\n{choice_table(choice)}")


def inspect_path(path: Path | str) -> dict[str, Any]:
    """A description of a store, an aligner, a checkpoint or a file of moments. Raises RevisionError where it is none
    or not whole.
    """
    if isinstance(path, str):
        return _store(Store.open(path))
    if is_shared(path):
        path = _shared_folder(path)
    if (path / MANIFEST).is_file():
        return _store(Store.open(path))
    if (path / RECORD).is_file():
        aligner = load_aligner(path)
        return {
            "kind": "aligner, whole",
            "method": aligner.method,
            "dimension": aligner.dim,
            "options": aligner.get_params(),
            **aligner.report.to_json(),
        }
    if (path / "config.json").is_file():
        return _checkpoint(path)
    if path.is_file():
        return _sums(path)
    if path.name and path.with_name(path.name + ".partial").is_dir() and not path.exists():
        raise RevisionError(f"{path}: is an unfinished store; repeat the command that was writing it")
    raise RevisionError(f"{path}: is no embedding store, aligner, checkpoint or file of moments")


def _sums(path: Path) -> dict[str, Any]:
    """What `revision moments` or `revision fit --merge` wrote."""
    fits, parts = read_sums([path])
    if fits:
        fit = fits[0][1]
        return {
            "kind": "map of a further pass of a fit, whole",
            "method": fit.aligner.method,
            "options": fit.aligner.get_params(),
            "seed": fit.seed,
            **_made_by(fit.source.encoder),
            "dimension": len(fit.source.moments.total),
            "source rows": fit.source.moments.count,
            "target rows": fit.target.moments.count,
            "passes so far": len(fit.passes) + 1,
        }
    part = parts[0]
    return {
        "kind": f"moments of {part.modality}s, whole",
        **_made_by(part.encoder),
        "rows": f"{part.start} to {part.stop} of {part.of}",
        "dimension": part.dim,
        "covariance": part.moments.outer is not None,
        "views": part.views or "1",
        "view": part.view,
        "mapped through": part.through,
        "content hash of the rows": part.content_hash,
    }


def _made_by(encoder: Identity | None) -> dict[str, Any]:
    return {} if encoder is None else {"encoder": encoder.spec, "fingerprint": encoder.fingerprint}


def _store(store: Store) -> dict[str, Any]:
    store.verify()
    manifest = store.manifest
    return {
        "kind": f"{manifest.modality} store, whole",
        "encoder": manifest.encoder.spec,
        "fingerprint": manifest.encoder.fingerprint,
        "rows": manifest.count,
        "dimension": manifest.dim,
        "dtype": manifest.dtype,
        "views": manifest.views or "1",
        "conversations": manifest.conversations,
        "failures": manifest.failures,
        "aligned by": manifest.aligner,
        "content hash": manifest.content_hash,
        "first id": store.row(0)["id"],
    }


def _shared_folder(path: Path) -> Path:
    """The folder of a name in the hub that does not say whether it is an aligner or a store: a commit is of one."""
    try:
        return aligner_folder(path)
    except HubError as no_aligner:
        try:
            return store_folder(path)
        except HubError as no_store:
            if no_store.reason == no_aligner.reason:
                raise
            raise RevisionError(f"{path}: as an aligner, {no_aligner.reason}; as a store, {no_store.reason}") from None


def _checkpoint(path: Path) -> dict[str, Any]:
    record = read_object(path / "config.json").get("revision")
    if record is None:
        raise RevisionError(f"{path}: is a model, but not one trained with --vision_tower revision")
    record = checked_record(record, str(path / "config.json"))
    encoder = Identity.from_json(record["encoder"], str(path / "config.json"))
    weights = [
        p.name
        for pattern in ("mm_projector.bin", "model*.safetensors", "adapter_model.safetensors")
        for p in path.glob(pattern)
    ]
    if not weights:
        raise RevisionError(f"{path}: has a config.json but no weights; the training did not finish")
    kind = "HF-native checkpoint" if is_native(path) else "checkpoint"
    return {
        "kind": "Stage-1 checkpoint (projector)" if weights == ["mm_projector.bin"] else kind,
        "encoder": encoder.spec,
        "encoder's code": record.get("encoder_code"),
        "fingerprint": encoder.fingerprint,
        "visual tokens": record["tokens"],
        "views": record.get("views", "1"),
        "aligner": record["aligner"],
        **({"aligner of parts": record["part_aligner"]} if record.get("part_aligner") else {}),
        "conversation": record["conversation"],
        "weights": ", ".join(sorted(weights)),
    }
