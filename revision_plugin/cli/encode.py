"""`revision encode`: a corpus into an embedding store."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import torch

from .._common import distributed
from .._common.devices import choose_device
from ..corpora.image_views import ImageViews
from ..corpora.inputs import Corpus, open_images, open_texts
from ..corpora.text_views import TextViews
from ..embeddings.addresses import store_name
from ..embeddings.encode import encode_images, encode_texts
from ..embeddings.manifest import DTYPES
from ..encoders import load_encoder
from ..errors import RevisionError
from .arguments import (
    NEW_STORE_HELP,
    FlagsOf,
    add_consent,
    add_device,
    add_trackers,
    chosen_trackers,
    use_consent,
    whole,
)
from .engine import add_engine, chosen_engine

logger = logging.getLogger(__name__)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ENCODER_HELP = (
    "demo, open_clip:ARCH/PRETRAINED, hf:REPO, a local folder, llm2clip:VISION?text=LLM or python:MODULE:CLASS"
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoder", required=True, help=ENCODER_HELP)
    corpus = parser.add_mutually_exclusive_group(required=True)
    shards = (
        "folders and globs of parquet, JSONL, webdataset tars or a saved dataset, on disk or at s3://, gs://, hf://"
    )
    corpus.add_argument(
        "--texts",
        nargs="+",
        metavar="CORPUS",
        help=f"LLaVA JSON, JSONL, TXT, parquet, or the authors' dataset.json; {shards}",
    )
    corpus.add_argument(
        "--images",
        nargs="+",
        metavar="CORPUS",
        help=f"a folder, or a LLaVA JSON or dataset.json with --image-folder; {shards}",
    )
    parser.add_argument("--out", type=store_name, required=True, help=NEW_STORE_HELP)
    flags = FlagsOf(parser, encode_images)
    flags.add("--image-folder", type=Path)
    named = "column of a table, field of JSON or member of a tar (as txt, jpg, json.caption)"
    FlagsOf(parser, open_texts).add("--text-column", metavar="NAME", help=f"{named} that is the text")
    columns = FlagsOf(parser, open_images)
    columns.add("--image-column", metavar="NAME", help=f"{named} that is the image")
    columns.add("--id-column", metavar="NAME", help=f"{named} that is the id, or __row__ for the part and the row")
    flags.add("--dtype", choices=list(DTYPES), help="of the stored embeddings")
    parser.add_argument("--batch-size", type=whole(1), help="items at a time")
    flags.add("--precision", choices=list(PRECISIONS), help="of the encoder's weights (default: as they load, fp32)")
    parser.add_argument(
        "--views",
        metavar="SPEC",
        help="a row for the whole and one for each part: of images ROWSxCOLUMNS[:mask|crop][:OVERLAP], of texts "
        "clauses[:LANGUAGE], sentences[:LANGUAGE] or python:MODULE:FUNCTION",
    )
    flags.add("--rows-per-shard", type=whole(1), help="about so many rows a file of the store")
    flags.add("--max-failures", type=whole(0), help="unusable items to tolerate; they are listed")
    add_device(parser)
    add_engine(parser)
    add_trackers(parser, "the rate")
    add_consent(parser)


def run(a: argparse.Namespace) -> None:
    use_consent(a)
    corpus = _open_corpus(a)
    read_views = TextViews.parse if a.texts else ImageViews.parse
    views = None if a.views is None else read_views(a.views)
    device = choose_device(a.device)
    encoder = load_encoder(a.encoder)
    distributed.start()
    encoder.to(device=device, dtype=PRECISIONS.get(a.precision))
    settings: dict[str, Any] = dict(
        dtype=a.dtype, max_failures=a.max_failures, precision=a.precision, views=views, rows_per_shard=a.rows_per_shard
    )
    if a.batch_size is not None:
        settings["batch_size"] = a.batch_size
    if distributed.rank() == 0:
        logger.info("encoding on %s", device)
    with chosen_engine(a), chosen_trackers(a, "encode") as tracker:
        store = (encode_texts if a.texts else encode_images)(encoder, corpus, a.out, tracker=tracker, **settings)
    if distributed.rank() == 0:
        print(f"{a.out}: {len(store)} {store.manifest.modality} embeddings of dimension {store.dim}")
    distributed.stop()


def _open_corpus(a: argparse.Namespace) -> Corpus:
    if a.texts and a.image_folder:
        raise RevisionError(f"--image-folder {a.image_folder}: only a JSON of images takes one; leave it out")
    if a.texts and a.image_column:
        raise RevisionError(f"--image-column {a.image_column}: is for --images; leave it out")
    if a.images and a.text_column:
        raise RevisionError(f"--text-column {a.text_column}: is for --texts; leave it out")
    if a.texts:
        return open_texts(a.texts, text_column=a.text_column, id_column=a.id_column)
    return open_images(a.images, a.image_folder, image_column=a.image_column, id_column=a.id_column)
