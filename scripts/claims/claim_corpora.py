"""What the trainings share: embeddings of the embedded world's scenes by each encoder, and the images of Stage 2."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from revision_plugin._common.files import write_json
from revision_plugin.demo import corpus, world
from revision_plugin.demo.recipe import HELD_OUT_SEED
from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.writer import StoreWriter
from revision_plugin.encoders import Encoder, load_encoder
from scripts.claims.plan import PAPERS_STATISTICS, SHIPPED, TEXTS_AT_MOST, Settings, Variant

ENCODERS = Path(__file__).with_name("encoders")
CHUNK = 2000
TEXT_STREAM, IMAGE_STREAM, TUNING_STREAM, OTHER_STREAM = 71, 72, 73, 74
OTHER_COLORS = [1, 2, 0]  # the other world's pictures: green where this one has red, and so on round


def encoder_spec(name: str) -> str:
    """The encoder spec of one of `plan.ENCODERS`."""
    return "demo" if name == SHIPPED else f"open_clip:{ENCODERS / name.replace(' ', '-')}"


@functools.cache
def text_scenes(settings: Settings) -> list[world.Scene]:
    """All training scenes, for each seed as many as its largest corpus takes."""
    count = settings.seeds * TEXTS_AT_MOST * settings.texts
    return world.sample_scenes(count, seed=TEXT_STREAM, held_out=False)


def training_rows(settings: Settings, seed: int, times: int = 1) -> np.ndarray:
    """Positions [times * texts] in `text_scenes` that training number `seed` may see."""
    return seed * TEXTS_AT_MOST * settings.texts + np.arange(times * settings.texts)


def held_out_scenes(settings: Settings) -> list[world.Scene]:
    """The scenes every training is measured on; no training sees their captions or pictures."""
    return world.sample_scenes(settings.held_out, seed=HELD_OUT_SEED, held_out=True, distinct=True)


def caption(scene: world.Scene, index: int, style: str) -> str:
    """A scene's `full` caption, which is concise; the `short` one names its objects alone, the `long` one says all
    twice.

    The long one is longer than the encoder's window, as long captions are of CLIP's.
    """
    names = world.object_names()
    objects = [world.with_article(names[index]) for index, _ in scene.objects]
    if style == "short":
        return " and ".join(objects)
    full = world.caption(scene)
    if style == "full":
        return full
    count = len(objects)
    verb, noun = ("is", "object") if count == 1 else ("are", "objects")
    facts = world.fact_list(scene, np.random.default_rng([TEXT_STREAM, index]))
    return f"there {verb} {world.NUMBERS[count - 1]} {noun} . {full} . {facts}"


def store_path(out: Path, encoder: str, kind: str) -> Path:
    return out / "data" / encoder.replace(" ", "-") / kind


def preparations(out: Path, settings: Settings, variants: list[Variant]) -> list[tuple]:
    """(function, arguments) of all that is not there yet; they can run at the same time."""
    work = []
    for encoder in sorted({v.encoder for v in variants}):
        encoder_variants = [v for v in variants if v.encoder == encoder]
        kinds = {"texts", "images"} | {"pairs" for v in encoder_variants if v.rows != "texts"}
        kinds |= {v.captions for v in encoder_variants if v.captions != "full"}
        kinds |= {"other-images" for v in encoder_variants if v.world != "own"} | {
            "other-texts" for v in encoder_variants if v.world == "other"
        }
        work += [
            (embed, (out, settings, encoder, kind))
            for kind in sorted(kinds)
            if not store_path(out, encoder, kind).exists()
        ]
    if any(v.tuned != "no" for v in variants) and not (out / "data" / "tuning" / "questions.json").exists():
        work.append((write_tuning_images, (out, settings)))
    return work


def embed(out: Path, settings: Settings, encoder_name: str, kind: str) -> None:
    """Write one store, resuming where a stopped run left it."""
    encoder = load_encoder(encoder_spec(encoder_name))
    scenes, items = _items(settings, encoder_name, kind)
    modality = "image" if kind in ("images", "pairs", "other-images") else "text"
    path = store_path(out, encoder_name, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = StoreWriter(
        path,
        modality=modality,
        encoder=encoder.identity,
        dim=encoder.dim,
        dtype="float32",
        request={"settings": settings.to_json(), "kind": kind},
    )
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    for number, chunk in enumerate(chunks):
        if writer.has_chunk(number):
            continue
        ids = [f"{index:06d}" for index in chunk]
        if modality == "image":
            writer.write_chunk(number, ids, _encode_pictures(encoder, scenes, chunk, kind))
        else:
            texts = [_text(scenes[index], index, kind) for index in chunk]
            writer.write_chunk(number, ids, encoder.encode_texts(texts).numpy(), texts=texts)
    writer.finish(len(chunks))


def _items(settings: Settings, encoder: str, kind: str) -> tuple[list[world.Scene], list[int]]:
    """The scenes of a store and the positions of those it holds."""
    if kind.startswith("other"):
        scenes = world.sample_scenes(2 * PAPERS_STATISTICS, seed=OTHER_STREAM, held_out=False)
        half = range(PAPERS_STATISTICS) if kind == "other-texts" else range(PAPERS_STATISTICS, 2 * PAPERS_STATISTICS)
        return scenes, list(half)
    if kind == "images":
        count = settings.unpaired if encoder == SHIPPED else PAPERS_STATISTICS
        scenes = world.sample_scenes(count, seed=IMAGE_STREAM, held_out=False)
        return scenes, list(range(count))
    scenes = text_scenes(settings)
    if kind == "texts" and encoder == SHIPPED:
        return scenes, list(range(len(scenes)))
    return scenes, [int(row) for seed in range(settings.seeds) for row in training_rows(settings, seed)]


def _text(scene: world.Scene, index: int, kind: str) -> str:
    if kind == "other-texts":
        return world.fact_list(scene, np.random.default_rng([OTHER_STREAM, index]))
    return caption(scene, index, "full" if kind == "texts" else kind)


def pictures(scenes: list[world.Scene], indices: list[int], stream: int) -> np.ndarray:
    """Pictures uint8 [n, H, W, 3] of the scenes at `indices`; each depends on its scene, its index and `stream`
    alone.
    """
    return np.stack([world.render(scenes[i], np.random.default_rng([stream, i])) for i in indices])


def _encode_pictures(encoder: Encoder, scenes, indices: list[int], kind: str) -> np.ndarray:
    stream = {"images": IMAGE_STREAM, "pairs": TEXT_STREAM, "other-images": OTHER_STREAM}[kind]
    drawn = pictures(scenes, indices, stream)
    if kind == "other-images":
        drawn = drawn[..., OTHER_COLORS]
    return np.concatenate([block.numpy() for block in _encoded(encoder, drawn)])


def _encoded(encoder: Encoder, drawn: np.ndarray, batch: int = 256) -> Iterator:
    for start in range(0, len(drawn), batch):
        images = [Image.fromarray(picture) for picture in drawn[start : start + batch]]
        yield encoder.encode_pixels(encoder.image_processor.preprocess(images)["pixel_values"])


def write_tuning_images(out: Path, settings: Settings) -> None:
    """The real images of Stage 2 and, for each number of them, a LLaVA JSON with questions about the first so many."""
    folder, count = out / "data" / "tuning", max(settings.tuning_images)
    scenes = world.sample_scenes(count, seed=TUNING_STREAM, held_out=False)
    names = corpus.write_images(scenes, folder / "images", seed=TUNING_STREAM)
    records = corpus.question_records(scenes, names, seed=TUNING_STREAM)
    for number in settings.tuning_images:
        corpus.write_corpus(folder / f"questions-{number}.json", records[:number])
    write_json(folder / "questions.json", {"images": count})  # the last file


def select(store: Store, ids: list[str]) -> np.ndarray:
    """The store's rows float32 [n, D] of these ids, in their order."""
    where = {identity: row for row, identity in enumerate(store.ids())}
    return store.take(np.array([where[identity] for identity in ids]))
