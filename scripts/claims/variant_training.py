"""One training of one variant: its data, both stages through LLaVA's own train(), and what they are measured by."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from revision_plugin._common.files import read_json, write_json
from revision_plugin._common.timing import timed
from revision_plugin.aligners import ALIGNERS, Aligner, create, load_aligner
from revision_plugin.demo import measures as evaluate
from revision_plugin.demo import world
from revision_plugin.demo.jobs import training_flags
from revision_plugin.demo.questions import questions
from revision_plugin.demo.recipe import HELD_OUT_SEED
from revision_plugin.embeddings.moments import stream_moments
from revision_plugin.embeddings.rows import as_rows
from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.writer import StoreWriter
from revision_plugin.encoders import load_encoder
from revision_plugin.hosts import find_host
from scripts.claims.claim_corpora import (
    caption,
    encoder_spec,
    held_out_scenes,
    select,
    store_path,
    text_scenes,
    training_rows,
)
from scripts.claims.plan import BY_NAME, Settings, Variant

RESULT = "result.json"
LANGUAGE_MODEL = world.ASSETS / "llm"


def training_folder(out: Path, name: str, seed: int) -> Path:
    return out / "trainings" / f"{name.replace(' ', '-').replace(',', '')}-seed-{seed}"


def run_training(out: Path, settings: Settings, name: str, seed: int) -> Path:
    """Train variant `name` with `seed`, measure it and keep the result; whatever a stopped run left is made anew."""
    variant, folder = BY_NAME[name], training_folder(out, name, seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seconds = {}
    with timed(seconds, "fit"):
        aligner = fit_aligner(out, settings, variant, seed)
        aligner.save(folder / "aligner")
    write_rows(out, settings, variant, seed, folder / "rows")
    with timed(seconds, "stage 1"):
        train_stage1(settings, variant, seed, folder)
    record = {
        "variant": name,
        "seed": seed,
        "loss": _losses(folder / "stage1"),
        "geometry": geometry(settings, variant, aligner),
    }
    with timed(seconds, "measure"):
        record |= measure_captions(settings, variant, folder)
    record["accuracy"] = {}
    if variant.tuned != "no":
        record["accuracy"]["0"] = measure_answers(settings, folder / "stage1", base=str(LANGUAGE_MODEL))
    for images in variant.tuning_images(settings):
        with timed(seconds, f"stage 2, {images} images"):
            train_stage2(out, settings, variant, seed, folder, images)
        record["accuracy"][str(images)] = measure_answers(settings, folder / "stage2")
        shutil.rmtree(folder / "stage2")
    record["seconds"] = seconds
    shutil.rmtree(folder / "rows")
    write_json(folder / RESULT, record)
    return folder


def _losses(folder: Path) -> list[list[float]]:
    history = read_json(folder / "trainer_state.json")["log_history"]
    return [[entry["step"], entry["loss"]] for entry in history if "loss" in entry]


def fit_aligner(out: Path, settings: Settings, variant: Variant, seed: int) -> Aligner:
    """The variant's aligner, on rows drawn with `seed` from texts and images that are no pairs."""
    texts = "other-texts" if variant.world == "other" else variant.captions.replace("full", "texts")
    images = "images" if variant.world == "own" else "other-images"
    rng = np.random.default_rng([seed, 7])
    rows = []
    for kind in (texts, images):
        store = Store.open(store_path(out, variant.encoder, kind))
        count = min(variant.statistics, len(store))
        rows.append(store.take(np.sort(rng.choice(len(store), count, replace=False))))
    aligner = create(ALIGNERS.get(variant.method), variant.options)
    return aligner.fit(*rows, encoder=encoder_spec(variant.encoder), seed=seed, held_out=0)


def write_rows(out: Path, settings: Settings, variant: Variant, seed: int, path: Path) -> None:
    """Stage 1's store: each scene's full caption with the embedding it is to be written from.

    That is a caption's, by the variant of one or another style, the scene's image's, or another image's.
    """
    indices = training_rows(settings, seed, variant.times)
    ids = [f"{index:06d}" for index in indices]
    scenes = text_scenes(settings)
    kind = variant.captions.replace("full", "texts") if variant.rows == "texts" else "pairs"
    source = Store.open(store_path(out, variant.encoder, kind))
    rows = select(source, ids)
    if variant.rows == "shuffled":
        rows = rows[np.random.default_rng([seed, 8]).permutation(len(rows))]
    texts = [caption(scenes[index], index, "full") for index in indices]
    writer = StoreWriter(path, modality="text", encoder=source.encoder, dim=source.dim, dtype="float32", request={})
    writer.write_chunk(0, ids, rows, texts=texts)
    writer.finish(1)


def _flags(variant: Variant, seed: int, steps: int, batch: int, rate: float) -> list[str]:
    shared = training_flags(
        LANGUAGE_MODEL, encoder_spec(variant.encoder), seed=seed + 1, steps=steps, batch=batch, rate=rate
    )
    return [*shared, "--revision_tokens", str(variant.tokens)]


def schedule(steps: int) -> list[str]:
    """Flags of a short Stage 1 that ends near the same loss in every seed, text or pairs.

    With the Trainer's beta2 of 0.999 and LLaVA's cosine some seeds are still on their way down at the last step, which
    hides differences of the size of those between the aligners.
    """
    return [
        "--adam_beta2",
        "0.95",
        "--warmup_ratio",
        "0.1",
        "--lr_scheduler_type",
        "warmup_stable_decay",
        "--lr_scheduler_kwargs",
        json.dumps({"num_decay_steps": max(1, steps // 3)}),
    ]


def train_stage1(settings: Settings, variant: Variant, seed: int, folder: Path) -> None:
    """Only the projector, on `settings.steps` batches of the rows in `folder`; the order is the seed's alone."""
    find_host().train(
        [
            *_flags(variant, seed, settings.steps, settings.batch, settings.rate),
            "--version",
            "plain",
            "--tune_mm_mlp_adapter",
            "True",
            "--data_path",
            str(folder / "rows"),
            "--revision_aligner",
            str(folder / "aligner"),
            *schedule(settings.steps),
            "--output_dir",
            str(folder / "stage1"),
        ]
    )


def train_stage2(out: Path, settings: Settings, variant: Variant, seed: int, folder: Path, images: int) -> None:
    """All of the model, once over questions about so many real images."""
    data = out / "data" / "tuning"
    find_host().train(
        [
            *_flags(variant, seed, -(-images // settings.tuning_batch), settings.tuning_batch, settings.tuning_rate),
            "--version",
            "v1",
            "--data_path",
            str(data / f"questions-{images}.json"),
            "--image_folder",
            str(data / "images"),
            "--pretrain_mm_mlp_adapter",
            str(folder / "stage1" / "mm_projector.bin"),
            "--output_dir",
            str(folder / "stage2"),
        ]
    )


@functools.cache
def _held_out(settings: Settings):
    scenes = held_out_scenes(settings)
    return scenes, world.render_all(scenes, seed=HELD_OUT_SEED)


def measure_captions(settings: Settings, variant: Variant, folder: Path) -> dict:
    """Per held-out scene, before any real image was trained on: likelihoods and what greedy captions name.

    `nll` is that of the full caption in nats a token given the real `image` or `another` scene's image, given the
    embedding that stood for the image in training (`own`), or given that of another scene (`another's own`).
    """
    scenes, drawn = _held_out(settings)
    captions = [caption(scene, index, "full") for index, scene in enumerate(scenes)]
    assistant = find_host().load(str(folder / "stage1"), base=str(LANGUAGE_MODEL))
    pixels = evaluate.image_inputs(assistant, drawn)
    nll = {
        "image": evaluate.caption_likelihood(assistant, pixels, captions),
        "another": evaluate.caption_likelihood(assistant, pixels, evaluate.rotate(captions)),
    }
    generated_captions = evaluate.caption_images(assistant, drawn[: settings.captioned])
    recalls = [evaluate.recall([text], [scene]) for text, scene in zip(generated_captions, scenes)]
    if variant.rows == "texts":
        variant_captions = [caption(scene, index, variant.captions) for index, scene in enumerate(scenes)]
        assistant.tower.use_aligner(load_aligner(folder / "aligner"))
        embeddings = load_encoder(encoder_spec(variant.encoder)).encode_texts(variant_captions)
        nll["own"] = evaluate.caption_likelihood(assistant, embeddings.clone(), captions)
        nll["another's own"] = evaluate.caption_likelihood(assistant, embeddings.clone(), evaluate.rotate(captions))
    return {
        "nll": {name: [round(float(v), 5) for v in values] for name, values in nll.items()},
        "recall": {fact: [round(row[fact], 5) for row in recalls] for fact in recalls[0]},
    }


def measure_answers(settings: Settings, checkpoint: Path, base: str | None = None) -> list[int]:
    """1 or 0 for each question about the held-out scenes, whether the greedy answer is right."""
    scenes, drawn = _held_out(settings)
    scene_questions = questions(scenes[: settings.asked], seed=HELD_OUT_SEED)
    assistant = find_host().load(str(checkpoint), base=base, template="v1")
    return evaluate.right_answers(assistant, drawn, scene_questions)


def geometry(settings: Settings, variant: Variant, aligner: Aligner) -> dict[str, float]:
    """The held-out texts before and after alignment, beside the images of the same scenes."""
    scenes, drawn = _held_out(settings)
    encoder = load_encoder(encoder_spec(variant.encoder))
    texts = encoder.encode_texts([caption(s, i, variant.captions) for i, s in enumerate(scenes)]).double()
    pixels = encoder.image_processor.preprocess([Image.fromarray(picture) for picture in drawn])["pixel_values"]
    images = encoder.encode_pixels(pixels).double()
    aligned = aligner.transform(texts)
    raw, moved, image_moments = (stream_moments(as_rows(rows)) for rows in (texts, aligned, images))
    return {
        "gap_before": float(np.linalg.norm(raw.mean - image_moments.mean)),
        "gap": float(np.linalg.norm(moved.mean - image_moments.mean)),
        "trace": moved.trace,
        "image_trace": image_moments.trace,
        "paired_cosine": float((aligned * images).sum(1).mean()),
    }
