"""Flags and opening of corpora that a command encodes as it reads them, in place of stores."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from .._common.engines import engine
from ..corpora.inputs import open_images, open_texts
from ..embeddings.encoded_rows import EncodedRows, encoded, of_images
from ..embeddings.item_encoding import ImageEncoding, ItemEncoding, TextEncoding
from ..embeddings.item_views import of_view
from ..embeddings.store import Store, is_store
from ..embeddings.summed_corpora import SummedCorpus
from ..encoders import Encoder, load_encoder
from ..errors import RevisionError
from .arguments import FlagsOf, add_consent, whole
from .encode import ENCODER_HELP, PRECISIONS

logger = logging.getLogger(__name__)
NEED_ENCODER = ("image_folder", "batch_size", "precision", "max_failures")


def add_encoding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoder", help=f"encode what is no store as it is read, and keep no embeddings; {ENCODER_HELP}"
    )
    flags = FlagsOf(parser, of_images)
    flags.add("--image-folder", type=Path, help="of a JSON of images")
    parser.add_argument("--batch-size", type=whole(1), help="items at a time")
    parser.add_argument(
        "--precision", choices=list(PRECISIONS), help="of the encoder's weights (default: as they load)"
    )
    parser.add_argument("--max-failures", type=whole(0), help="unusable items of a corpus to tolerate (default 0)")
    add_consent(parser)


class Corpora:
    """Opens what a command was given: a store, or, with --encoder, a corpus. `device` is the encoder's."""

    def __init__(self, arguments: argparse.Namespace, device: torch.device):
        self._arguments, self._device = arguments, device
        self._encoder: Encoder | None = None
        self.encoded: list[EncodedRows | SummedCorpus] = []
        if arguments.encoder is None:
            given = next((name for name in NEED_ENCODER if getattr(arguments, name) is not None), None)
            if given is not None:
                raise RevisionError(f"--{given.replace('_', '-')} is for corpora that are encoded; give --encoder")

    @property
    def encoder(self) -> Encoder | None:
        """The encoder of --encoder; None without."""
        a = self._arguments
        if self._encoder is None and a.encoder is not None:
            self._encoder = load_encoder(a.encoder).to(device=self._device, dtype=PRECISIONS.get(a.precision))
        return self._encoder

    def open(self, path: Path | str, modality: str | None) -> Store | EncodedRows | SummedCorpus:
        """The rows of a store, or of a corpus of that modality. Raises RevisionError for what is neither."""
        a, encoder = self._arguments, self.encoder
        if encoder is None or is_store(path):
            return of_view(Store.open(path), a.view)
        if a.view is not None:
            raise RevisionError(f"{path}: a corpus that is encoded as it is read has wholes alone; leave --view out")
        if modality is None:
            raise RevisionError(f"{path}: say with --modality whether it holds texts or images")
        corpus = open_texts(path) if modality == "text" else open_images(path, a.image_folder)
        kind: type[ItemEncoding] = TextEncoding if modality == "text" else ImageEncoding
        encoding = kind() if a.batch_size is None else kind(a.batch_size)
        workers, most = engine(), a.max_failures or 0
        rows: EncodedRows | SummedCorpus
        if workers is None:
            rows = encoded(encoder, corpus, encoding, max_failures=most)
        else:
            rows = SummedCorpus(workers, encoder, corpus, encoding, max_failures=most)
        self.encoded.append(rows)
        return rows

    def log_passes(self) -> None:
        """Say how often each corpus was encoded, and how many texts were cut."""
        for rows in self.encoded:
            logger.info("%s: encoded in %d pass(es); no embeddings are kept", rows.where, rows.passes)
            if rows.truncated:
                cut, count = rows.truncated, len(rows)
                logger.warning("%d of %d texts were longer than the encoder's window and were cut", cut, count)
