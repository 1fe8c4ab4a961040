"""What the trainings share: embeddings of the wide world's scenes by each encoder, and the held-out scenes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.writer import StoreWriter
from revision_plugin.encoders import Encoder, load_encoder
from scripts.claims.plan import OTHER, TEXTS_AT_MOST, Settings, Variant
from scripts.wide_world import ENCODERS
from scripts.wide_world.wide_captions import human_caption
from scripts.wide_world.wide_pictures import draw_scene
from scripts.wide_world.wide_scenes import CONTENT_GROUPS, WideScene, sample_wide_scenes

CHUNK, BATCH = 2000, 256
TEXT_STREAM, IMAGE_STREAM, OTHER_STREAM, HELD_OUT_STREAM = 71, 72, 73, 74
STREAMS = {"texts": TEXT_STREAM, "pairs": TEXT_STREAM, "images": IMAGE_STREAM, OTHER: OTHER_STREAM}


def encoder_spec(name: str) -> str:
    """The encoder spec of one of `plan.ENCODERS`."""
    return f"open_clip:{ENCODERS / name.replace(' ', '-')}"


@functools.cache
def text_scenes(settings: Settings) -> list[WideScene]:
    """The scenes of all training texts, for each seed as many as its largest corpus takes."""
    return sample_wide_scenes(settings.seeds * TEXTS_AT_MOST * settings.texts, seed=TEXT_STREAM, held_out=False)


def training_rows(settings: Settings, seed: int, times: int = 1) -> np.ndarray:
    """Positions [times * texts] in `text_scenes` that training number `seed` may see."""
    return seed * TEXTS_AT_MOST * settings.texts + np.arange(times * settings.texts)


def training_caption(scene: WideScene, index: int) -> str:
    """What somebody wrote about training scene `index`."""
    return human_caption(scene, np.random.default_rng([TEXT_STREAM, index]))


@functools.cache
def held_out(count: int) -> tuple[list[WideScene], np.ndarray, list[str]]:
    """The scenes that every training is measured on, their pictures uint8 [N, H, W, 3], and a human caption of each."""
    scenes = sample_wide_scenes(count, seed=HELD_OUT_STREAM, held_out=True)
    captions = [human_caption(scene, np.random.default_rng([HELD_OUT_STREAM, i])) for i, scene in enumerate(scenes)]
    return scenes, pictures(scenes, range(count), HELD_OUT_STREAM), captions


def store_path(out: Path, encoder: str, kind: str) -> Path:
    return out / "data" / encoder.replace(" ", "-") / kind.replace(" ", "-")


def preparations(out: Path, settings: Settings, variants: list[Variant]) -> list[tuple]:
    """(function, arguments) of all that is not there yet; they can run at the same time."""
    work = []
    for encoder in sorted({v.encoder for v in variants}):
        of_encoder = [v for v in variants if v.encoder == encoder]
        kinds = {"texts", "images"} | {"pairs" for v in of_encoder if v.rows != "texts"}
        kinds |= {OTHER for v in of_encoder if v.content == OTHER}
        missing = [kind for kind in sorted(kinds) if not store_path(out, encoder, kind).exists()]
        work += [(embed, (out, settings, encoder, kind)) for kind in missing]
    return work


def embed(out: Path, settings: Settings, encoder_name: str, kind: str) -> None:
    """Write one store, resuming where a stopped run left it."""
    encoder = load_encoder(encoder_spec(encoder_name))
    scenes, items = _items(settings, kind)
    path = store_path(out, encoder_name, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = StoreWriter(
        path,
        modality="text" if kind == "texts" else "image",
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
        if kind == "texts":
            texts = [training_caption(scenes[index], index) for index in chunk]
            writer.write_chunk(number, ids, encoder.encode_texts(texts).numpy(), texts=texts)
        else:
            drawn = pictures(scenes, chunk, STREAMS[kind])
            writer.write_chunk(number, ids, np.concatenate([part.numpy() for part in _encoded(encoder, drawn)]))
    writer.finish(len(chunks))


def _items(settings: Settings, kind: str) -> tuple[list[WideScene], list[int]]:
    """The scenes of a store and the positions of those it holds."""
    if kind in ("images", OTHER):
        count = 2 * (settings.statistics + settings.criteria)
        groups = CONTENT_GROUPS if kind == OTHER else None
        scenes = sample_wide_scenes(count, seed=STREAMS[kind], held_out=False, groups=groups)
        return scenes, list(range(count))
    scenes = text_scenes(settings)
    if kind == "texts":
        return scenes, list(range(len(scenes)))
    return scenes, [int(row) for seed in range(settings.seeds) for row in training_rows(settings, seed)]


def pictures(scenes: list[WideScene], indices, stream: int) -> np.ndarray:
    """Pictures uint8 [n, H, W, 3] of the scenes at `indices`; each depends on its scene, its index and `stream`
    alone.
    """
    return np.stack([draw_scene(scenes[i], np.random.default_rng([stream, i])) for i in indices])


def _encoded(encoder: Encoder, drawn: np.ndarray) -> Iterator:
    for start in range(0, len(drawn), BATCH):
        images = [Image.fromarray(picture) for picture in drawn[start : start + BATCH]]
        yield encoder.encode_pixels(encoder.image_processor.preprocess(images)["pixel_values"])


def select(store: Store, ids: list[str]) -> np.ndarray:
    """The store's rows float32 [n, D] of these ids, in their order."""
    where = {identity: row for row, identity in enumerate(store.ids())}
    return store.take(np.array([where[identity] for identity in ids]))
