"""`revision encode`: a corpus into an embedding store."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from .._common import distributed
from .._common.devices import choose_device
from ..corpora.image_views import ImageViews
from ..corpora.text_views import TextViews
from ..embeddings.encode import encode_images, encode_texts
from ..embeddings.manifest import DTYPES
from ..encoders import load_encoder
from ..errors import RevisionError
from .arguments import FlagsOf, add_consent, add_device, use_consent, whole

logger = logging.getLogger(__name__)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ENCODER_HELP = (
    "demo, open_clip:ARCH/PRETRAINED, hf:REPO, a local folder, llm2clip:VISION?text=LLM or python:MODULE:CLASS"
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoder", required=True, help=ENCODER_HELP)
    corpus = parser.add_mutually_exclusive_group(required=True)
    corpus.add_argument("--texts", type=Path, help="LLaVA JSON, JSONL, TXT, parquet, or the authors' dataset.json")
    corpus.add_argument("--images", type=Path, help="a folder, or a LLaVA JSON or dataset.json with --image-folder")
    parser.add_argument("--out", type=Path, required=True)
    flags = FlagsOf(parser, encode_images)
    flags.add("--image-folder", type=Path)
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
    add_consent(parser)


def run(a: argparse.Namespace) -> None:
    use_consent(a)
    if a.image_folder and (a.texts or a.images.is_dir()):
        raise RevisionError(f"--image-folder {a.image_folder}: only a JSON of images takes one; leave it out")
    read_views = TextViews.parse if a.texts else ImageViews.parse
    views = None if a.views is None else read_views(a.views)
    device = choose_device(a.device)
    encoder = load_encoder(a.encoder)
    distributed.start()
    encoder.to(device=device, dtype=PRECISIONS.get(a.precision))
    settings = dict(
        dtype=a.dtype, max_failures=a.max_failures, precision=a.precision, views=views, rows_per_shard=a.rows_per_shard
    )
    if a.batch_size is not None:
        settings["batch_size"] = a.batch_size
    if distributed.rank() == 0:
        logger.info("encoding on %s", device)
    if a.texts:
        store = encode_texts(encoder, a.texts, a.out, **settings)
    else:
        store = encode_images(encoder, a.images, a.out, image_folder=a.image_folder, **settings)
    if distributed.rank() == 0:
        print(f"{a.out}: {len(store)} {store.manifest.modality} embeddings of dimension {store.dim}")
    distributed.stop()
