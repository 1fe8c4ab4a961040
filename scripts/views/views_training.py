"""Data, trainings and answers of one seed: the quickstart's, with stores of views."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image

from revision_plugin._common.files import write_json
from revision_plugin._common.timing import timed
from revision_plugin.aligners import ALIGNERS
from revision_plugin.corpora.image_views import ImageViews
from revision_plugin.corpora.text_views import TextViews
from revision_plugin.demo import corpus, measures, world
from revision_plugin.demo.jobs import COMMON_FLAGS
from revision_plugin.demo.questions import questions
from revision_plugin.demo.recipe import Recipe
from revision_plugin.embeddings.encode import encode_images, encode_texts
from revision_plugin.embeddings.item_views import PARTS, WHOLE, of_view
from revision_plugin.embeddings.store import Store
from revision_plugin.encoders import load_encoder
from revision_plugin.evaluation.replies import short_answer
from revision_plugin.hosts import find_host
from scripts.views.views_plan import CLAUSES, NAMED, PAIRED, WITHOUT, Variant

ENCODER, HELD_OUT_SEED = "demo", 900
LANGUAGE_MODEL = world.ASSETS / "llm"
RESULT, CAPTIONS = "result.json", "captions.json"


def folder_of(out: Path, name: str, seed: int) -> Path:
    return (
        out
        / f"seed-{seed}"
        / name.replace(" ", "-").replace(",", "").replace(":", "-").replace("+", "and").replace("%", "")
    )


def write_data(out: Path, recipe: Recipe, seed: int) -> None:
    """Texts, unpaired images, pairs and questions of a seed, and the store of its texts and their clauses."""
    data = out / f"seed-{seed}"
    if texts_of(out, seed, NAMED).exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    drawn = [
        world.sample_scenes(count, seed=1000 * seed + stream, held_out=False)
        for count, stream in ((recipe.texts, 1), (recipe.images, 2), (recipe.stage2_images, 4))
    ]
    texts, unpaired, asked = drawn
    corpus.write_corpus(data / "texts.json", corpus.caption_records(texts))
    corpus.write_images(unpaired, data / "unpaired", seed=seed + 2)
    names = corpus.write_images(texts, data / "pairs", seed=seed + 3)
    corpus.write_corpus(data / "pairs.json", corpus.caption_records(texts, names))
    names = corpus.write_images(asked, data / "asked", seed=seed + 4)
    corpus.write_corpus(data / "questions.json", corpus.question_records(asked, names, seed=seed + 4))
    encoder = load_encoder(ENCODER)
    encode_texts(encoder, data / "texts.json", data / "captions", batch_size=256)
    for spec in (CLAUSES, NAMED):
        views = TextViews.parse(spec)
        encode_texts(encoder, data / "texts.json", texts_of(out, seed, spec), batch_size=256, views=views)


def encode_views(out: Path, seed: int, views: str) -> None:
    """The stores of unpaired images and of those that are asked about, with these views."""
    data, encoder = out / f"seed-{seed}", load_encoder(ENCODER)
    for kind in ("unpaired", "asked"):
        store = store_of(out, seed, kind, views)
        if not store.exists():
            encode_images(encoder, data / kind, store, views=ImageViews.parse(views))


def texts_of(out: Path, seed: int, text_views: str | None) -> Path:
    return out / f"seed-{seed}" / {None: "captions", CLAUSES: "clauses", NAMED: "named"}[text_views]


def store_of(out: Path, seed: int, kind: str, views: str) -> Path:
    return out / f"seed-{seed}" / f"{kind}-{views.replace(':', '-')}"


def train_stage1(out: Path, recipe: Recipe, variant: Variant, seed: int) -> None:
    """A projector trained on text alone, or on pairs."""
    folder, data = folder_of(out, f"stage1 {variant.stage1}", seed), out / f"seed-{seed}"
    if (folder / "projector" / "mm_projector.bin").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    if variant.method == PAIRED:
        flags = ["--data_path", data / "pairs.json", "--image_folder", data / "pairs"]
    else:
        texts = texts_of(out, seed, variant.text_views)
        flags = ["--data_path", texts, "--revision_aligner", folder / "aligner"]
        unpaired = Store.open(store_of(out, seed, "unpaired", variant.views if variant.text_views else "1"))
        for view in (WHOLE, PARTS) if variant.text_views else (WHOLE,):
            aligner = ALIGNERS.get(variant.method)()
            aligner.fit(of_view(Store.open(texts), view), of_view(unpaired, view), seed=seed)
            aligner.save(folder / ("aligner" if view == WHOLE else "part-aligner"))
        if variant.text_views:
            flags += ["--revision_part_aligner", folder / "part-aligner", "--revision_views", variant.views]
            flags += ["--revision_whole_share", variant.whole_share]
    find_host().train(
        [
            *_flags(recipe.stage1_steps, recipe.stage1_batch, recipe.stage1_rate, seed),
            *("--version", "plain", "--tune_mm_mlp_adapter", "True"),
            *map(str, flags),
            *("--output_dir", str(folder / "projector")),
        ]
    )


def _flags(steps: int, batch: int, rate: float, seed: int) -> list[str]:
    return [
        *COMMON_FLAGS,
        *("--disable_tqdm", "True", "--model_name_or_path", str(LANGUAGE_MODEL), "--revision_encoder", ENCODER),
        *("--seed", str(seed + 1), "--gradient_accumulation_steps", "1", "--max_steps", str(steps)),
        *("--per_device_train_batch_size", str(batch), "--learning_rate", str(rate)),
    ]


def train_stage2(out: Path, recipe: Recipe, variant: Variant, seed: int) -> None:
    """The whole model tuned on stored embeddings of real images, then asked about held-out ones."""
    folder, data = folder_of(out, variant.name, seed), out / f"seed-{seed}"
    if (folder / RESULT).exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    flags = ["--data_path", data / "questions.json", "--revision_views", variant.views]
    flags += ["--revision_image_store", store_of(out, seed, "asked", variant.views)]
    if variant.method != WITHOUT:
        stage1 = folder_of(out, f"stage1 {variant.stage1}", seed)
        flags += ["--pretrain_mm_mlp_adapter", stage1 / "projector" / "mm_projector.bin"]
    seconds: dict[str, float] = {}
    with timed(seconds, "stage 2"):
        find_host().train(
            [
                *_flags(recipe.stage2_steps, recipe.stage2_batch, recipe.stage2_rate, seed),
                *("--version", recipe.version, "--output_dir", str(folder / "model")),
                *map(str, flags),
            ]
        )
    with timed(seconds, "answers"):
        right = _answers(recipe, folder / "model")
    shutil.rmtree(folder / "model")
    write_json(folder / RESULT, {"variant": variant.name, "seed": seed, "right": right, "seconds": seconds})


def measure_captions(out: Path, recipe: Recipe, variant: Variant, seed: int) -> None:
    """What a Stage 1 alone makes of held-out images, with the views that it was trained for: the true captions'
    negative log-likelihood, nats a token, given the image and given another one, and what greedy captions name.
    """
    folder = folder_of(out, f"stage1 {variant.stage1}", seed)
    if (folder / CAPTIONS).exists():
        return
    scenes, drawn = _held_out(recipe)
    captions = [world.caption(scene) for scene in scenes]
    assistant = find_host().load(str(folder / "projector"), base=str(LANGUAGE_MODEL))
    pixels = measures.image_inputs(assistant, drawn)
    record = {
        "image": measures.caption_likelihood(assistant, pixels, captions).tolist(),
        "another": measures.caption_likelihood(assistant, pixels, measures.rotate(captions)).tolist(),
        "recall": measures.recall(measures.caption_images(assistant, drawn), scenes),
    }
    write_json(folder / CAPTIONS, record)


def _held_out(recipe: Recipe):
    scenes = world.sample_scenes(recipe.held_out, seed=HELD_OUT_SEED, held_out=True, distinct=True)
    return scenes, world.render_all(scenes, seed=HELD_OUT_SEED)


def _answers(recipe: Recipe, model: Path) -> list[int]:
    """1 or 0 for each question about the held-out scenes, whether the greedy answer is right."""
    scenes, drawn = _held_out(recipe)
    asked = questions(scenes, seed=HELD_OUT_SEED)
    assistant, right = find_host().load(str(model)), []
    for start in range(0, len(asked), measures.BATCH):
        part = asked[start : start + measures.BATCH]
        images = [Image.fromarray(drawn[index]) for index, _ in part]
        replies = assistant.ask(images, [question.text for _, question in part], max_new_tokens=6)
        right += [int(short_answer(reply, question.answer)) for reply, (_, question) in zip(replies, part)]
    return right
