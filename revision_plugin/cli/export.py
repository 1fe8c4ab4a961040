"""`revision export`: a trained model, an aligner or a store as a folder to share, and its upload to the hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from .._common.folders import require_free
from .._common.shared_folders import RepositoryType
from ..embeddings.addresses import store_name
from ..errors import RevisionError
from ..export.artefacts import export_aligner, export_store
from ..export.checkpoint import export_checkpoint
from ..export.push import push, require_pushable
from .arguments import add_cache_size, add_consent, use_consent


def add_flags(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="a trained checkpoint, for transformers alone")
    what.add_argument("--aligner", type=Path, help="a fitted aligner, for a repository of type model")
    what.add_argument("--store", type=store_name, help="an embedding store, for a repository of type dataset")
    parser.add_argument("--base", help="the language model of a Stage-1 or LoRA checkpoint")
    parser.add_argument("--no-check", action="store_true", help="do not compare the folder with the trained model")
    parser.add_argument(
        "--results",
        type=Path,
        action="append",
        default=[],
        help="folder of `revision evaluate`; its scores on the card",
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder, with a card (README.md)")
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload the folder there; prints hf:OWNER/NAME@COMMIT")
    parser.add_argument("--public", action="store_true", help="for all to see (default: a private repository)")
    add_cache_size(parser)
    add_consent(parser)


def run(a: argparse.Namespace) -> None:
    if a.public and not a.push:
        raise RevisionError("--public: is for an upload; give --push OWNER/NAME, or leave it out")
    for flag in ("base", "no_check", "results"):
        if getattr(a, flag) and not a.model:
            raise RevisionError(f"--{flag.replace('_', '-')}: is for a checkpoint; give --model, or leave it out")
    use_consent(a)
    require_free(a.out)
    if a.push:
        require_pushable(a.push)
    kind = _export(a)
    if a.push:
        upload(a, kind)


def _export(a: argparse.Namespace) -> RepositoryType:
    """Write the folder --out; give back the type of repository that it is for. A kind of export is a branch here."""
    if a.model:
        export_checkpoint(a.model, a.out, base=a.base, check=not a.no_check, results=a.results, name=a.push)
        print(f"{a.out}: opens with AutoModelForImageTextToText and AutoProcessor (trust_remote_code=True)")
        return "model"
    if a.aligner:
        aligner = export_aligner(a.aligner, a.out, name=a.push)
        print(f"{a.out}: aligner {aligner.method} of dimension {aligner.dim}, with its card")
        return "model"
    store = export_store(a.store, a.out, name=a.push)
    print(f"{a.out}: {len(store)} {store.manifest.modality} embeddings of dimension {store.dim}, with their card")
    return "dataset"


def upload(a: argparse.Namespace, kind: RepositoryType) -> None:
    """Upload the finished folder --out. Where that fails the folder stays, and the line says so."""
    try:
        print(push(a.out, a.push, kind=kind, public=a.public))
    except RevisionError as error:
        raise RevisionError(f"{error} ({a.out} is whole and stays; delete it to repeat the command)") from None
