"""Says what a folder is and whether it is whole, and what the plugin would bind in the host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .._common.files import read_json
from ..aligners import load_aligner
from ..aligners.base import RECORD
from ..embeddings.store import MANIFEST, Store
from ..embeddings.writer import versions
from ..errors import RevisionError
from ..hosts import HOSTS


def inspect_path(path: Path) -> dict:
    """A description of a store, aligner or checkpoint. Raises RevisionError where it is none or not whole."""
    if (path / MANIFEST).is_file():
        store = Store.open(path)
        store.verify()
        manifest = store.manifest
        return {
            "kind": f"{manifest.modality} store, whole",
            "encoder": manifest.encoder["spec"],
            "fingerprint": manifest.encoder["fingerprint"],
            "rows": manifest.count,
            "dimension": manifest.dim,
            "dtype": manifest.dtype,
            "conversations": manifest.conversations,
            "failures": manifest.failures,
            "aligned by": manifest.aligner,
            "content hash": manifest.content_hash,
            "first id": store.row(0)["id"],
        }
    if (path / RECORD).is_file():
        aligner = load_aligner(path)
        return {
            "kind": "aligner, whole",
            "method": aligner.method,
            "dimension": aligner.dim,
            "options": aligner.options,
            **aligner.record,
        }
    if (path / "config.json").is_file():
        return _checkpoint(path)
    if path.with_name(path.name + ".partial").is_dir() and not path.exists():
        raise RevisionError(f"{path}: is an unfinished store; repeat the command that was writing it")
    raise RevisionError(f"{path}: is no embedding store, aligner or checkpoint")


def _checkpoint(path: Path) -> dict:
    record = read_json(path / "config.json").get("revision")
    if record is None:
        raise RevisionError(f"{path}: is a model, but not one trained with --vision_tower revision")
    weights = [
        p.name
        for pattern in ("mm_projector.bin", "model*.safetensors", "adapter_model.safetensors")
        for p in path.glob(pattern)
    ]
    if not weights:
        raise RevisionError(f"{path}: has a config.json but no weights; the training did not finish")
    return {
        "kind": "Stage-1 checkpoint (projector)" if weights == ["mm_projector.bin"] else "checkpoint",
        "encoder": record["encoder"]["spec"],
        "fingerprint": record["encoder"]["fingerprint"],
        "visual tokens": record["tokens"],
        "aligner": record["aligner"],
        "conversation": record["conversation"],
        "weights": ", ".join(sorted(weights)),
    }


def doctor(say: Callable[[str], None]) -> list[str]:
    """Report versions, hosts and bindings line by line through `say`; return what is wrong."""
    problems = []
    for name, found in versions().items():
        say(f"{name} {found}")
    hosts = {name: HOSTS.get(name)() for name in HOSTS.names()}
    found = [name for name, host in hosts.items() if host.version()]
    for name, host in hosts.items():
        say(f"host {name}: {host.version() or 'not installed'}")
        if found and name not in found:
            continue
        try:
            host.install()
        except RevisionError as error:
            problems.append(str(error))
            continue
        for binding in host.bindings():
            say(f"  binds {binding.symbol}: {binding.reason}")
    return problems
