"""The data of one seed of instruction tuning: texts, their pairs, statistics, and questions with images or captions.

All that is trained on are scenes of one half of the training split, the statistics' images scenes of the other half, so
that no caption of theirs is ever read; both halves have the same shares of scenes with one, two and three objects.
"""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from revision_plugin.corpora.image_views import ImageViews
from revision_plugin.demo import corpus, world
from revision_plugin.embeddings.encode import encode_images, encode_texts
from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.writer import StoreWriter
from revision_plugin.encoders import Encoder, load_encoder
from scripts.claims.tuning_plan import FIVE_VECTORS, ONE_VECTOR, TuningSettings

ENCODER = f"open_clip:{Path(__file__).with_name('encoders') / 'scale-40'}"  # raw gap 0.62: here the aligners differ
TEXT_STREAM, IMAGE_STREAM, TUNING_STREAM = 81, 82, 83
BATCH = 256


def tuning_data(out: Path, seed: int) -> Path:
    return out / "data" / f"seed-{seed}"


def texts_store(out: Path, seed: int) -> Path:
    """The captions with their embeddings: Stage 1's first, then others for the statistics."""
    return tuning_data(out, seed) / "texts"


def pretraining_store(out: Path, seed: int) -> Path:
    """Stage 1's captions with their embeddings."""
    return tuning_data(out, seed) / "pretraining"


def statistics_store(out: Path, seed: int) -> Path:
    """Images for statistics alone."""
    return tuning_data(out, seed) / "statistics"


def captioned_questions_store(out: Path, seed: int) -> Path:
    """Instruction records whose visual input is the embedded caption."""
    return tuning_data(out, seed) / "captioned"


def images_store(out: Path, seed: int, kind: str, views: str) -> Path:
    """Embeddings of the real images that Stage 1 (`paired`) or Stage 2 (`asked`) is given."""
    return tuning_data(out, seed) / f"{kind}-{views.replace(':', '-')}"


def questions_file(out: Path, seed: int, scenes: int) -> Path:
    """A LLaVA JSON with questions about the first so many of Stage 2's scenes."""
    return tuning_data(out, seed) / f"questions-{scenes}.json"


def data_mark(out: Path, seed: int) -> Path:
    """What is there when all data of a seed are."""
    return images_store(out, seed, "asked", FIVE_VECTORS)


def half_of_scenes(count: int, *, seed: int, stream: int, half: int) -> list[world.Scene]:
    """`count` training scenes of one half of the split, by a hash of their content."""
    scenes: list[world.Scene] = []
    draws = 2 * count + 100
    while len(scenes) < count:
        drawn = world.sample_scenes(draws, seed=1000 * seed + stream, held_out=False)
        scenes = [s for s in drawn if zlib.crc32(repr((s.background, s.objects)).encode()) % 2 == half]
        draws *= 2
    return scenes[:count]


def write_tuning_data(out: Path, settings: TuningSettings, shares: tuple[float, ...], seed: int) -> None:
    """All data of a seed; what a stopped run left is made anew."""
    data = tuning_data(out, seed)
    shutil.rmtree(data, ignore_errors=True)
    encoder = load_encoder(ENCODER)
    scenes = half_of_scenes(max(settings.texts, settings.statistics), seed=seed, stream=TEXT_STREAM, half=0)
    texts = corpus.write_corpus(data / "texts.json", corpus.caption_records(scenes))
    _encode_texts(encoder, texts, texts_store(out, seed))
    paired = scenes[: settings.texts]
    names = corpus.write_images(paired, data / "paired", seed=seed + TEXT_STREAM)
    records = corpus.caption_records(paired, names)
    pretraining = corpus.write_corpus(data / "pretraining.json", corpus.caption_records(paired))
    _encode_texts(encoder, pretraining, pretraining_store(out, seed))
    corpus.write_corpus(data / "paired.json", records)
    _encode_images(encoder, data / "paired", images_store(out, seed, "paired", ONE_VECTOR), ONE_VECTOR)
    _write_statistics(encoder, settings, statistics_store(out, seed), seed)
    asked = half_of_scenes(settings.tuned, seed=seed, stream=TUNING_STREAM, half=0)
    names = corpus.write_images(asked, data / "asked", seed=seed + TUNING_STREAM)
    records = corpus.question_records(asked, names, seed=seed + TUNING_STREAM)
    for share in shares:
        count = settings.tuned_scenes(share)
        corpus.write_corpus(questions_file(out, seed, count), records[:count])
    captioned = corpus.question_records(asked, None, seed=seed + TUNING_STREAM)
    corpus.write_corpus(data / "captioned.json", captioned)
    _encode_texts(encoder, data / "captioned.json", captioned_questions_store(out, seed))
    for views in (ONE_VECTOR, FIVE_VECTORS):
        _encode_images(encoder, data / "asked", images_store(out, seed, "asked", views), views)


def _encode_texts(encoder: Encoder, path: Path, store: Path) -> None:
    encode_texts(encoder, path, store, dtype="float32", batch_size=BATCH)


def _encode_images(encoder: Encoder, folder: Path, store: Path, views: str) -> None:
    encode_images(encoder, folder, store, dtype="float32", batch_size=BATCH, views=ImageViews.parse(views))


def _write_statistics(encoder: Encoder, settings: TuningSettings, path: Path, seed: int) -> None:
    """Without files of the pictures, which nothing else reads."""
    scenes = half_of_scenes(settings.statistics, seed=seed, stream=IMAGE_STREAM, half=1)
    pictures = world.render_all(scenes, seed=seed + IMAGE_STREAM)
    rows = []
    for start in range(0, len(pictures), BATCH):
        images = [Image.fromarray(picture) for picture in pictures[start : start + BATCH]]
        rows.append(encoder.encode_pixels(encoder.image_processor.preprocess(images)["pixel_values"]).numpy())
    writer = StoreWriter(
        path, modality="image", encoder=encoder.identity, dim=encoder.dim, dtype="float32", request={"seed": seed}
    )
    writer.write_chunk(0, [f"{index:06d}" for index in range(len(scenes))], np.concatenate(rows))
    writer.finish(1)


def statistics_rows(out: Path, settings: TuningSettings, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of texts and of images that aligners are fitted on, float32 [statistics, D] each."""
    stores = Store.open(texts_store(out, seed)), Store.open(statistics_store(out, seed))
    texts, images = (store.take(np.arange(settings.statistics)) for store in stores)
    return texts, images
