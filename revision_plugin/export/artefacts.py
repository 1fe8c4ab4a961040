"""Folders of aligners and stores as they are shared: the artefact's own files, unchanged, and a card."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from .._common.files import require_regular, write_text
from .._common.folders import new_folder
from ..aligners import Aligner, load_aligner
from ..aligners.base import RECORD, WEIGHTS
from ..aligners.saved import aligner_folder
from ..embeddings.addresses import store_name
from ..embeddings.manifest import MANIFEST, SHARD_HASHES
from ..embeddings.remote_stores import copy_files
from ..embeddings.store import Store
from ..encoders import Identity
from .aligner_card import aligner_card
from .cards import CARD
from .store_card import store_card

OPTIONAL_FILES = (
    SHARD_HASHES,
    "dataset_info.json",
    "state.json",
)  # the last two are those by which `datasets.load_from_disk` opens a store
logger = logging.getLogger(__name__)


def export_aligner(path: str | Path, out: Path, *, name: str | None = None) -> Aligner:
    """Write the aligner at `path` (a folder, or `hf:OWNER/NAME@COMMIT`) and its card to the new folder `out`, whole or
    not at all; give back the aligner. `name` (OWNER/NAME) is what its card calls it by.

    Raises RevisionError for what is no whole aligner, and where `out` is not empty or cannot be written.
    """
    folder = aligner_folder(path)
    aligner = load_aligner(folder)
    _warn_of_place(aligner.report.encoder)
    _write(folder, (RECORD, WEIGHTS), aligner_card(aligner, name), out)
    return aligner


def export_store(path: str | Path, out: Path, *, name: str | None = None) -> Store:
    """Write the store at `path` (a folder, `hf:OWNER/NAME@COMMIT` or an address) and its card to the new folder `out`,
    whole or not at all; give back the store, opened there. `name` (OWNER/NAME) is what its card calls it by.

    All rows are checked against their hash first. The list of items that could not be encoded stays behind: it names
    files of the machine that encoded them. Raises RevisionError as `export_aligner` does.
    """
    place = store_name(path)
    if isinstance(place, str):
        return _export_remote(Store.open(place), place, out, name)
    store = Store.open(place)
    store.verify()
    _warn_of_place(store.encoder)
    folder = store.shards.folder
    present = [file for file in OPTIONAL_FILES if (folder / file).is_file()]
    _write(folder, (MANIFEST, *store.manifest.shards, *present), store_card(store, name), out)
    return Store.open(out)


def _export_remote(store: Store, address: str, out: Path, name: str | None) -> Store:
    """`export_store` of a store on another file system, whose rows are checked when they are here."""
    _warn_of_place(store.encoder)
    with new_folder(out) as made:
        copy_files(address, (MANIFEST, *store.manifest.shards), made, optional=OPTIONAL_FILES)
        Store.open(made).verify()
        write_text(made / CARD, store_card(store, name))
    return Store.open(out)


def _write(folder: Path, files: Sequence[str], card: str, out: Path) -> None:
    for file in files:
        require_regular(folder / file)
    with new_folder(out) as made:
        for file in files:
            shutil.copyfile(folder / file, made / file)
        write_text(made / CARD, card)


def _warn_of_place(encoder: Identity | None) -> None:
    """An encoder's spec is part of what is shared; where it is a folder here, nobody else can open it."""
    place = encoder.spec.partition(":")[2] if encoder else ""
    if place and (place[0] in "/.~" or Path(place).exists()):
        logger.warning(
            "warning: the encoder is named by a folder of this machine, '%s', which is shared as it stands; others "
            "find the encoder by its fingerprint",
            encoder.spec if encoder else "",
        )
