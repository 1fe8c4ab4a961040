"""Data, trainings and answers of one seed: the quickstart's, with stores of views."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from revision_plugin._common.files import write_json
from revision_plugin._common.timing import timed
from revision_plugin.aligners import ALIGNERS
from revision_plugin.corpora.image_views import ImageViews
from revision_plugin.corpora.text_views import TextViews
from revision_plugin.demo import corpus, measures, world
from revision_plugin.demo.jobs import training_flags
from revision_plugin.demo.questions import questions
from revision_plugin.demo.recipe import ENCODER, HELD_OUT_SEED, Recipe
from revision_plugin.embeddings.encode import encode_images, encode_texts
from revision_plugin.embeddings.item_views import PARTS, WHOLE, of_view
from revision_plugin.embeddings.store import Store
from revision_plugin.encoders import load_encoder
from revision_plugin.hosts import find_host
from scripts.views.views_plan import CLAUSES, NAMED, PAIRED, WITHOUT, Variant

LANGUAGE_MODEL = world.ASSETS / "llm"
TEXT_STORES = {None: "captions", CLAUSES: "clauses", NAMED: "named"}  # by the views of a text, in the order of writing


def folder_of(out: Path, name: str, seed: int) -> Path:
    return out / f"seed-{seed}" / re.sub(r"[^\w.]+", "-", name)


def write_data(out: Path, recipe: Recipe, seed: int) -> None:
    """The quickstart's corpora of a seed, and the stores of its texts, whole and with their parts."""
    data = out / f"seed-{seed}"
    shutil.rmtree(data, ignore_errors=True)
    corpus.write_corpora(data, recipe, seed)
    encoder = load_encoder(ENCODER)
    for spec in TEXT_STORES:
        views = None if spec is None else TextViews.parse(spec)
        encode_texts(encoder, data / "texts.json", texts_of(out, seed, spec), batch_size=256, views=views)


def encode_views(out: Path, seed: int, views: str) -> None:
    """The stores of unpaired images and, last, of those that are asked about, with these views."""
    data, encoder = out / f"seed-{seed}", load_encoder(ENCODER)
    for kind in ("images", "asked"):
        store = images_of(out, seed, kind, views)
        shutil.rmtree(store, ignore_errors=True)
        encode_images(encoder, data / kind, store, views=ImageViews.parse(views))


def texts_of(out: Path, seed: int, text_views: str | None) -> Path:
    return out / f"seed-{seed}" / TEXT_STORES[text_views]


def images_of(out: Path, seed: int, kind: str, views: str) -> Path:
    return out / f"seed-{seed}" / f"{kind}-{views.replace(':', '-')}"


def result_of(out: Path, variant: Variant, seed: int) -> Path:
    return folder_of(out, variant.name, seed) / "result.json"


def captions_of(out: Path, variant: Variant, seed: int) -> Path:
    return folder_of(out, f"stage1 {variant.stage1}", seed) / "captions.json"


def projector_of(out: Path, variant: Variant, seed: int) -> Path:
    return folder_of(out, f"stage1 {variant.stage1}", seed) / "projector" / "mm_projector.bin"


def train_stage1(out: Path, recipe: Recipe, variant: Variant, seed: int) -> None:
    """A projector trained on text alone, or on pairs."""
    folder, data = folder_of(out, f"stage1 {variant.stage1}", seed), out / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    if variant.method == PAIRED:
        flags = ["--data_path", data / "paired.json", "--image_folder", data / "paired"]
    else:
        texts = texts_of(out, seed, variant.text_views)
        flags = ["--data_path", texts, "--revision_aligner", folder / "aligner"]
        unpaired = Store.open(images_of(out, seed, "images", variant.views if variant.text_views else "1"))
        for view in (WHOLE, PARTS) if variant.text_views else (WHOLE,):
            aligner = ALIGNERS.get(variant.method)()
            aligner.fit(of_view(Store.open(texts), view), of_view(unpaired, view), seed=seed)
            aligner.save(folder / ("aligner" if view == WHOLE else "part-aligner"))
        if variant.text_views:
            flags += ["--revision_part_aligner", folder / "part-aligner", "--revision_views", variant.views]
            flags += ["--revision_whole_share", variant.whole_share]
    find_host().train(
        [
            *_flags(seed, recipe.stage1_steps, recipe.stage1_batch, recipe.stage1_rate),
            *("--version", "plain", "--tune_mm_mlp_adapter", "True"),
            *map(str, flags),
            *("--output_dir", str(folder / "projector")),
        ]
    )


def _flags(seed: int, steps: int, batch: int, rate: float) -> list[str]:
    return training_flags(LANGUAGE_MODEL, ENCODER, seed=seed + 1, steps=steps, batch=batch, rate=rate)


def train_stage2(out: Path, recipe: Recipe, variant: Variant, seed: int) -> None:
    """The whole model tuned on stored embeddings of real images, then asked about held-out ones."""
    folder, data = folder_of(out, variant.name, seed), out / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    flags = ["--data_path", data / "questions.json", "--revision_views", variant.views]
    flags += ["--revision_image_store", images_of(out, seed, "asked", variant.views)]
    if variant.method != WITHOUT:
        flags += ["--pretrain_mm_mlp_adapter", projector_of(out, variant, seed)]
    seconds: dict[str, float] = {}
    with timed(seconds, "stage 2"):
        find_host().train(
            [
                *_flags(seed, recipe.stage2_steps, recipe.stage2_batch, recipe.stage2_rate),
                *("--version", recipe.version, "--output_dir", str(folder / "model")),
                *map(str, flags),
            ]
        )
    scenes, drawn = _held_out(recipe)
    with timed(seconds, "answers"):
        assistant = find_host().load(str(folder / "model"))
        right = measures.right_answers(assistant, drawn, questions(scenes, seed=HELD_OUT_SEED))
    shutil.rmtree(folder / "model")
    write_json(
        result_of(out, variant, seed), {"variant": variant.name, "seed": seed, "right": right, "seconds": seconds}
    )


def measure_captions(out: Path, recipe: Recipe, variant: Variant, seed: int) -> None:
    """What a Stage 1 alone makes of held-out images, with the views that it was trained for: the true captions'
    negative log-likelihood, nats a token, given the image and given another one, and what greedy captions name.
    """
    stage1 = projector_of(out, variant, seed).parent
    scenes, drawn = _held_out(recipe)
    captions = [world.caption(scene) for scene in scenes]
    assistant = find_host().load(str(stage1), base=str(LANGUAGE_MODEL))
    pixels = measures.image_inputs(assistant, drawn)
    record = {
        "image": measures.caption_likelihood(assistant, pixels, captions).tolist(),
        "another": measures.caption_likelihood(assistant, pixels, measures.rotate(captions)).tolist(),
        "recall": measures.recall(measures.caption_images(assistant, drawn), scenes),
    }
    write_json(captions_of(out, variant, seed), record)


def _held_out(recipe: Recipe):
    scenes = world.sample_scenes(recipe.held_out, seed=HELD_OUT_SEED, held_out=True, distinct=True)
    return scenes, world.render_all(scenes, seed=HELD_OUT_SEED)
