"""From a corpus to an embedding store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .._common.trackers import Tracker
from ..corpora.image_views import ImageViews
from ..corpora.inputs import Corpus, Names, open_images, open_texts
from ..corpora.text_views import TextViews
from ..encoders import Encoder
from .encoding_run import EncodingRun
from .item_encoding import ImageEncoding, ItemEncoding, TextEncoding
from .store import Store
from .writer import ROWS_PER_SHARD

CHUNK_ROWS = 4096


def encode_texts(
    encoder: Encoder,
    corpus: Names | Corpus,
    out: Path | str,
    *,
    dtype: str = "float16",
    batch_size: int = 64,
    max_failures: int = 0,
    precision: str | None = None,
    views: TextViews | None = None,
    rows_per_shard: int = ROWS_PER_SHARD,
    tracker: Tracker | None = None,
) -> Store:
    """Encode every text of `corpus`, one that is open or what `open_texts` opens, into the text store `out`.

    `dtype` is that of the stored embeddings; `precision` the one the encoder was moved to, which a resumed run must
    repeat. With `views` a text has a row for the whole and one for each of its parts. The store has a file for about
    `rows_per_shard` rows. Under `running_on` an engine its workers encode; they read the corpus and write beside `out`
    themselves, so that both must lie where all of them reach. A `tracker` draws `items_per_second` as the
    progress bar counts them.
    Raises RevisionError for an empty corpus, duplicate ids, or more unusable items than `max_failures`.
    """
    corpus = corpus if isinstance(corpus, Corpus) else open_texts(corpus)
    encoding = TextEncoding(batch_size, views)
    return _encode(encoder, corpus, encoding, out, dtype, precision, max_failures, rows_per_shard, tracker)


def encode_images(
    encoder: Encoder,
    corpus: Names | Corpus,
    out: Path | str,
    *,
    image_folder: Path | None = None,
    dtype: str = "float16",
    batch_size: int = 64,
    max_failures: int = 0,
    precision: str | None = None,
    views: ImageViews | None = None,
    rows_per_shard: int = ROWS_PER_SHARD,
    tracker: Tracker | None = None,
) -> Store:
    """Encode every image of `corpus`, one that is open or what `open_images` opens, into the image store `out`.

    With `views` of several parts an image has a row for the whole and one for each of them. All else as `encode_texts`.
    Raises RevisionError as that does, and for images that do not decode. A resumed run must find the same files, by
    name, size and time of change.
    """
    corpus = corpus if isinstance(corpus, Corpus) else open_images(corpus, image_folder)
    encoding = ImageEncoding(batch_size, views or ImageViews())
    return _encode(encoder, corpus, encoding, out, dtype, precision, max_failures, rows_per_shard, tracker)


def _encode(
    encoder: Encoder,
    corpus: Corpus,
    encoding: ItemEncoding,
    out: Path | str,
    dtype: str,
    precision: str | None,
    max_failures: int,
    rows_per_shard: int,
    tracker: Tracker | None,
) -> Store:
    request: dict[str, Any] = {**corpus.identity(), "precision": precision, **encoding.request}
    run = EncodingRun(
        encoder=encoder,
        corpus=corpus,
        encoding=encoding,
        chunk_rows=CHUNK_ROWS,
        rows_per_shard=rows_per_shard,
        max_failures=max_failures,
        tracker=tracker,
    )
    return run.run(out, dtype, request)
