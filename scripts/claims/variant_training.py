"""One training of one variant: its data, Stage 1 through LLaVA's own train(), and what it is measured by."""

from __future__ import annotations

import functools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from revision_plugin._common.files import read_json, write_json
from revision_plugin._common.timing import timed
from revision_plugin.aligners import ALIGNERS, Aligner, create, load_aligner
from revision_plugin.aligners.criteria import unpaired_criteria
from revision_plugin.aligners.matched_fit import fit_on_matches
from revision_plugin.demo.jobs import PROJECTOR, training_flags
from revision_plugin.demo.measures import caption_likelihood, image_inputs, rotate
from revision_plugin.embeddings.moments import stream_moments
from revision_plugin.embeddings.rows import as_rows
from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.writer import StoreWriter
from revision_plugin.encoders import load_encoder
from revision_plugin.hosts import find_host
from scripts.claims.claim_corpora import (
    HELD_OUT_STREAM,
    encoder_spec,
    held_out,
    select,
    store_path,
    text_scenes,
    training_caption,
    training_rows,
)
from scripts.claims.plan import BY_NAME, OTHER, Settings, Variant
from scripts.wide_world import LANGUAGE_MODEL
from scripts.wide_world.distractors import Choice, choices

RESULT = "result.json"
LARGE_MODEL = "smollm2"


def training_folder(out: Path, name: str, seed: int) -> Path:
    """Of one training of either part: everything of its name but letters and digits becomes a dash."""
    return out / "trainings" / f"{re.sub(r'[^0-9A-Za-z]+', '-', name)}-seed-{seed}"


def run_training(out: Path, settings: Settings, name: str, seed: int) -> Path:
    """Train variant `name` with `seed`, measure it and keep the result; whatever a stopped run left is made anew."""
    variant, folder = BY_NAME[name], training_folder(out, name, seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seconds: dict[str, float] = {}
    record = {"variant": name, "seed": seed}
    with timed(seconds, "fit"):
        aligner, unseen = fit_aligner(out, settings, variant, seed)
        aligner.save(folder / "aligner")
    record |= {"geometry": geometry(settings, variant, aligner)}
    if variant.rows == "texts" and not variant.large:
        with timed(seconds, "criteria"):
            texts, images = (rows.astype(np.float64) for rows in unseen)
            record["criteria"] = unpaired_criteria(texts, aligner.transform(texts), images, seed=seed)
    write_rows(out, settings, variant, seed, folder / "rows")
    with timed(seconds, "stage 1"):
        train_stage1(out, settings, variant, seed, folder)
    with timed(seconds, "measure"):
        record |= measure(out, settings, variant, folder)
    history = read_json(folder / "stage1" / "trainer_state.json")["log_history"]
    record |= {"loss": [[e["step"], e["loss"]] for e in history if "loss" in e], "seconds": seconds}
    for part in ("rows", "stage1", "aligner"):
        shutil.rmtree(folder / part)
    write_json(folder / RESULT, record)
    return folder


def fit_aligner(out: Path, settings: Settings, variant: Variant, seed: int) -> tuple[Aligner, list[np.ndarray]]:
    """The variant's aligner, on rows that are no pairs; and others of both modalities."""
    count = variant.statistics or settings.statistics
    fitted, unseen = unpaired_rows(out, settings, variant.encoder, variant.content, seed, count)
    aligner = create(ALIGNERS.get(variant.method), variant.options)
    settings: dict = dict(encoder=encoder_spec(variant.encoder), seed=seed, held_out=0)
    if variant.matched:
        return fit_on_matches(aligner, *fitted, **settings), unseen
    return aligner.fit(*fitted, **settings), unseen


def unpaired_rows(
    out: Path, settings: Settings, encoder: str, content: str, seed: int, count: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """`count` texts and images that aligners are fitted on, and others of both for the criteria, drawn with `seed`.

    The first drawn are those of the criteria, so that they are the same whatever the count.
    """
    rng, fitted, unseen = np.random.default_rng([seed, 7]), [], []
    for kind in ("texts", OTHER if content == OTHER else "images"):
        store = Store.open(store_path(out, encoder, kind))
        drawn = rng.permutation(len(store))[: settings.criteria + settings.statistics]
        unseen.append(store.take(np.sort(drawn[: settings.criteria])))
        fitted.append(store.take(np.sort(drawn[settings.criteria :][:count])))
    return fitted, unseen


def write_rows(out: Path, settings: Settings, variant: Variant, seed: int, path: Path) -> None:
    """Stage 1's store: each scene's caption with the embedding that it is to be written from."""
    indices = training_rows(settings, seed, variant.times)
    ids = [f"{index:06d}" for index in indices]
    source = Store.open(store_path(out, variant.encoder, "texts" if variant.rows == "texts" else "pairs"))
    rows = select(source, ids)
    if variant.rows == "shuffled":
        rows = rows[np.random.default_rng([seed, 8]).permutation(len(rows))]
    texts = [training_caption(text_scenes(settings)[index], index) for index in indices]
    writer = StoreWriter(path, modality="text", encoder=source.encoder, dim=source.dim, dtype="float32", request={})
    writer.write_chunk(0, ids, rows, texts=texts)
    writer.finish(1)


def language_model(out: Path, variant: Variant) -> Path:
    """The folder of the variant's language model; a run exports the large one before its trainings."""
    return out / LARGE_MODEL if variant.large else LANGUAGE_MODEL


def schedule(steps: int) -> list[str]:
    """Flags of a short Stage 1 that ends near the same loss in every seed, text or pairs.

    With the Trainer's beta2 of 0.999 and LLaVA's cosine some seeds are still on their way down at the last step, which
    hides differences of the size of those between the aligners.
    """
    return [
        *("--adam_beta2", "0.95", "--warmup_ratio", "0.1", "--lr_scheduler_type", "warmup_stable_decay"),
        *("--lr_scheduler_kwargs", json.dumps({"num_decay_steps": max(1, steps // 3)})),
    ]


def train_stage1(out: Path, settings: Settings, variant: Variant, seed: int, folder: Path) -> None:
    """Only the projector, on batches of the rows in `folder`; the order is the seed's alone."""
    steps, batch, rate, projector = settings.steps, settings.batch, settings.rate, settings.projector
    if variant.large:
        steps, batch, rate = settings.large_steps, settings.large_batch, settings.large_rate
        projector = PROJECTOR
    steps *= variant.times
    spec = encoder_spec(variant.encoder)
    number_type = ["--bf16", "True", *([] if torch.cuda.is_available() else ["--use_cpu", "True"])]
    sizes: dict = dict(steps=steps, batch=batch, rate=rate, projector=projector)
    flags = training_flags(language_model(out, variant), spec, seed=seed + 1, **sizes)
    data = ["--data_path", str(folder / "rows"), "--revision_aligner", str(folder / "aligner")]
    train_projector([*flags, *number_type, *data], steps, folder / "stage1")


def train_projector(flags: list[str], steps: int, out: Path) -> None:
    """Stage 1 with the flags of its model and data: the projector alone, in the `plain` form."""
    stage = ["--version", "plain", "--tune_mm_mlp_adapter", "True", "--output_dir", str(out)]
    find_host().train([*flags, *stage, *schedule(steps)])


@functools.cache
def held_out_rows(count: int, encoder_name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings [count, d] of the held-out scenes' captions and of their pictures, which all trainings share."""
    _, drawn, captions = held_out(count)
    encoder = load_encoder(encoder_spec(encoder_name))
    pixels = encoder.image_processor.preprocess([Image.fromarray(picture) for picture in drawn])["pixel_values"]
    return encoder.encode_texts(captions).clone(), encoder.encode_pixels(pixels).clone()


@functools.cache
def _choices(count: int) -> list[Choice]:
    return choices(held_out(count)[0], seed=HELD_OUT_STREAM)


def measure(out: Path, settings: Settings, variant: Variant, folder: Path) -> dict:
    """Per held-out scene, before any real image was trained on: likelihoods, and choices among hard distractors.

    `nll` is that of the scene's human caption in nats a token given the real `image`, given the embedding that stood
    for the image in training (`own`), or given that of another scene (`another`). `right` says of each choice whether
    the true caption is the likeliest, by the sum over its tokens, given the real image.
    """
    count = settings.large_held_out if variant.large else settings.held_out
    _, drawn, captions = held_out(count)
    assistant = find_host().load(str(folder / "stage1"), base=str(language_model(out, variant)))
    pixels = image_inputs(assistant, drawn)
    nll = {"image": caption_likelihood(assistant, pixels, captions)}
    own = pixels
    if variant.rows == "texts":
        assistant.tower.use_aligner(load_aligner(folder / "aligner"))
        own, _ = held_out_rows(count, variant.encoder)
        nll["own"] = caption_likelihood(assistant, own, captions)
    nll["another"] = caption_likelihood(assistant, own, rotate(captions))
    record: dict = {"nll": {name: [round(float(v), 5) for v in values] for name, values in nll.items()}}
    if not variant.large:
        asked = _choices(count)
        record["right"] = [int(choice) for choice in true_is_likeliest(assistant, pixels, asked)]
        record["facts"] = [choice.fact for choice in asked]
    return record


def true_is_likeliest(assistant, pixels, asked: list[Choice]) -> np.ndarray:
    """For each choice, whether the true caption is the likeliest given its scene's image [bool]."""
    captions = [caption for choice in asked for caption in choice.captions]
    rows = [choice.scene for choice in asked for _ in choice.captions]
    lengths = [len(ids) + 1 for ids in assistant.tokenizer(captions, add_special_tokens=False).input_ids]  # its end
    total = caption_likelihood(assistant, pixels[rows], captions) * np.array(lengths)
    return total.reshape(len(asked), -1).argmin(1) == 0


def geometry(settings: Settings, variant: Variant, aligner: Aligner) -> dict[str, float]:
    """The held-out texts before and after alignment, beside the images of the same scenes."""
    texts, images = (rows.double() for rows in held_out_rows(settings.held_out, variant.encoder))
    aligned = aligner.transform(texts)
    raw, moved, of_images = (stream_moments(as_rows(rows)) for rows in (texts, aligned, images))
    return {
        "gap_before": float(np.linalg.norm(raw.mean - of_images.mean)),
        "gap": float(np.linalg.norm(moved.mean - of_images.mean)),
        "text_trace": raw.trace,
        "trace": moved.trace,
        "image_trace": of_images.trace,
        "paired_cosine": float((aligned * images).sum(1).mean()),
    }
