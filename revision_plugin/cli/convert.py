"""`revision convert`: features made elsewhere into an embedding store."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..embeddings.addresses import store_name
from ..embeddings.convert import convert
from ..embeddings.manifest import DTYPES
from .arguments import NEW_STORE_HELP, FlagsOf, add_consent, use_consent, whole


def add_flags(parser: argparse.ArgumentParser) -> None:
    text = ".pkl (file or folder of parts), clip-retrieval folder, .npy or .parquet"
    parser.add_argument("source", type=Path, help=text)
    flags = FlagsOf(parser, convert)
    flags.add("--modality", choices=["text", "image"], required=True)
    flags.add("--encoder", required=True, help="the spec they were made with, or external:NAME")
    flags.add("--texts", type=Path, help="the texts of a .npy file, in its order")
    flags.add("--dtype", choices=list(DTYPES), help="of the stored embeddings")
    flags.add("--max-failures", type=whole(0), help="unusable rows to tolerate; they are listed")
    flags.add("--out", type=store_name, required=True, help=NEW_STORE_HELP)
    add_consent(parser)


def run(a: argparse.Namespace) -> None:
    use_consent(a)
    store = convert(
        a.source,
        a.out,
        modality=a.modality,
        encoder=a.encoder,
        texts=a.texts,
        dtype=a.dtype,
        max_failures=a.max_failures,
    )
    print(f"{a.out}: {len(store)} {a.modality} embeddings of dimension {store.dim}")
