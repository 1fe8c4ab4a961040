"""`revision apply`: a text store aligned."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..aligners import load_aligner
from ..aligners.apply import apply_aligner
from ..embeddings.addresses import store_name
from ..embeddings.item_views import of_view
from ..embeddings.manifest import DTYPES
from ..embeddings.store import Store
from .arguments import NEW_STORE_HELP, FlagsOf, add_cache_size, add_view
from .engine import add_engine, chosen_engine


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags = FlagsOf(parser, apply_aligner)
    flags.add("--aligner", type=Path, required=True, help="folder, or hf:OWNER/NAME@COMMIT, as for stores")
    flags.add("--source", type=store_name, required=True, help="text store")
    flags.add("--dtype", choices=list(DTYPES), help="of the stored embeddings (default: the source's)")
    add_view(parser)
    add_cache_size(parser)
    add_engine(parser)
    flags.add("--out", type=store_name, required=True, help=NEW_STORE_HELP)


def run(a: argparse.Namespace) -> None:
    aligner, source = load_aligner(a.aligner), of_view(Store.open(a.source), a.view)
    with chosen_engine(a):
        store = apply_aligner(aligner, source, a.out, dtype=a.dtype)
    print(f"{a.out}: {len(store)} aligned embeddings of dimension {store.dim}")
