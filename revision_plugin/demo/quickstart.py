"""`revision quickstart`: the whole flow on the embedded world, from corpus to report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from .._common.files import read_json, write_json
from .._common.folders import ClaimedFolder
from ..aligners import ALIGNERS, create, load_aligner
from ..embeddings.encode import encode_images, encode_texts
from ..embeddings.moments import stream_moments
from ..embeddings.rows import as_rows
from ..embeddings.store import Store
from ..encoders import load_encoder
from ..errors import RevisionError
from ..evaluation import run
from ..hosts import find_host
from . import corpus, measures, quickstart_page, world
from . import quickstart_report as report
from .jobs import Job, run_evaluations, run_jobs
from .questions import questions
from .recipe import ENCODER, HELD_OUT_SEED, STAGE1_LABELS, STAGE2_LABELS, Recipe, choose
from .screen import Screen
from .smollm2 import export_smollm2
from .stages import Stages, open_stages

EXAMPLES, SHEET = 6, 16
TEXTS_AT_A_TIME = 256  # the demo encoder is small
STAGES = {  # by the names that the report gives seconds to
    "corpus and embeddings": "corpus and embeddings",
    "aligners": "aligners",
    "trainings": "trainings: Stage 1 three times, Stage 2 three times",
    "zero-shot evaluation": "zero-shot captions of held-out images",
    "question answering": "questions about held-out images, through lmms-eval",
    "report": "report",
}


def quickstart(out: Path, *, full: bool = False, small_llm: str = "demo", seed: int = 0) -> Path:
    """Run everything under `out` and return the report's path. What an earlier, stopped run finished is kept.

    Raises RevisionError where `out` holds a finished or a different run.
    """
    recipe = choose(full=full, small_llm=small_llm)
    settings = {"recipe": asdict(recipe), "small_llm": small_llm, "seed": seed}
    if (out / "report" / "report.md").exists():
        raise RevisionError(f"{out}: already holds a finished quickstart; choose another --out or delete it")
    with ClaimedFolder(out, "quickstart.json", settings), open_stages(STAGES, out) as stages:
        return _run(out, recipe, settings, stages)


def _run(out: Path, recipe: Recipe, settings: dict, stages: Stages) -> Path:
    seed, small_llm = settings["seed"], settings["small_llm"]
    with stages.stage("corpus and embeddings"):
        _prepare(out, recipe, seed)
        language_model = world.ASSETS / "llm" if small_llm == "demo" else export_smollm2(out / "smollm2")
    with stages.stage("aligners") as screen:
        _fit(out, seed, screen)
    with stages.stage("trainings"):
        run_jobs(_jobs(out, recipe, language_model, seed))
    results = {**settings, "language_model": small_llm}
    with stages.stage("zero-shot evaluation") as screen:
        scenes = world.sample_scenes(recipe.held_out, seed=HELD_OUT_SEED, held_out=True, distinct=True)
        pictures = world.render_all(scenes, seed=HELD_OUT_SEED)
        examples = _evaluate_stage1(out, results, scenes, pictures, language_model)
        _show_stage1(results, screen)
    with stages.stage("question answering") as screen:
        sheet = _evaluate_stage2(out, results, scenes)
        for name, label in STAGE2_LABELS.items():
            screen.figure(f"answers right, {label}", f"{results['stage2'][name]['all']['accuracy']:.1%}")
    with stages.stage("report"):
        folder = out / "report"
        folder.mkdir(exist_ok=True)
        report.plot_loss(folder / "stage1_loss.png", {n: _losses(out / f"stage1-{n}") for n in results["stage1"]})
        clouds = results.pop("clouds")
        report.plot_pca(folder / "pca.png", clouds)
        report.plot_contact_sheet(folder / "answers.png", sheet, pictures)
    results["seconds"] = stages.seconds
    write_json(folder / "results.json", results)
    quickstart_page.write_page(out, results, clouds, scenes, pictures, examples)
    path = report.write_report(folder, results, examples)
    for line in report.verdicts(results):
        stages.screen.write(line)
    return path


def _show_stage1(results: dict, screen: Screen) -> None:
    gaps = {name: row["centroid_gap"] for name, row in results["geometry"].items()}
    screen.figure("centroid gap of held-out scenes", f"{gaps['none']:.3f} before ReAlign, {gaps['realign']:.3f} after")
    rows = []
    for name, row in results["stage1"].items():
        likelihoods = [row[given]["mean"] if given in row else None for given in ("text", "image", "shuffled")]
        rows.append([STAGE1_LABELS[name], *("-" if value is None else f"{value:.3f}" for value in likelihoods)])
    head = ["nats a token of true captions", "given its text", "given the image", "given another image"]
    screen.table(head, rows)


def _prepare(out: Path, recipe: Recipe, seed: int) -> None:
    """Texts, unpaired images and paired images of training scenes, as files; then the two stores."""
    data, encoder = out / "data", load_encoder(ENCODER)
    if not (data / "questions.json").exists():
        corpus.write_corpora(data, recipe, seed)
    if not (out / "texts").exists():
        encode_texts(encoder, data / "texts.json", out / "texts", batch_size=TEXTS_AT_A_TIME)
    if not (out / "images").exists():
        encode_images(encoder, data / "images", out / "images")


def _fit(out: Path, seed: int, screen: Screen) -> None:
    texts, images = Store.open(out / "texts"), Store.open(out / "images")
    for method in ("none", "realign"):
        if not (out / f"aligner-{method}").exists():
            aligner = create(ALIGNERS.get(method), {}).fit(texts, images, seed=seed)
            aligner.save(out / f"aligner-{method}")
            screen.figure(f"centroid gap, {STAGE1_LABELS[method]}", f"{aligner.report.centroid_gap:.4f}")


def _jobs(out: Path, recipe: Recipe, language_model: Path, seed: int) -> list[Job]:
    data = out / "data"
    shared = (
        "--model_name_or_path",
        str(language_model),
        "--revision_encoder",
        ENCODER,
        "--revision_tokens",
        str(recipe.tokens),
        "--seed",
        str(seed + 1),
        "--gradient_accumulation_steps",
        "1",
    )
    stage1 = (
        *shared,
        "--version",
        "plain",
        "--tune_mm_mlp_adapter",
        "True",
        "--per_device_train_batch_size",
        str(recipe.stage1_batch),
        "--learning_rate",
        str(recipe.stage1_rate),
    )
    stage2 = (
        *shared,
        "--version",
        recipe.version,
        "--data_path",
        str(data / "questions.json"),
        "--image_folder",
        str(data / "asked"),
        "--per_device_train_batch_size",
        str(recipe.stage2_batch),
        "--learning_rate",
        str(recipe.stage2_rate),
    )
    text_only = [
        Job(
            out / f"stage1-{m}",
            recipe.stage1_steps,
            (*stage1, "--data_path", str(out / "texts"), "--revision_aligner", str(out / f"aligner-{m}")),
        )
        for m in ("realign", "none")
    ]
    paired = Job(
        out / "stage1-paired",
        recipe.stage1_steps,
        (*stage1, "--data_path", str(data / "paired.json"), "--image_folder", str(data / "paired")),
    )
    projector = out / "stage1-realign" / "mm_projector.bin"
    tuned = Job(
        out / "stage2-realign",
        recipe.stage2_steps,
        (*stage2, "--pretrain_mm_mlp_adapter", str(projector)),
        after=out / "stage1-realign",
    )
    views = Job(
        out / "stage2-views",
        recipe.stage2_steps,
        (*stage2, "--pretrain_mm_mlp_adapter", str(projector), "--revision_views", recipe.views),
        after=out / "stage1-realign",
    )
    without = Job(out / "stage2-without", recipe.stage2_steps, stage2)
    # two run at a time; the halves take about equally long
    return [text_only[0], text_only[1], views, paired, tuned, without]


def _losses(folder: Path) -> list[tuple[int, float]]:
    state = read_json(folder / "trainer_state.json")
    return [(entry["step"], entry["loss"]) for entry in state["log_history"] if "loss" in entry]


def _summary(values: np.ndarray) -> dict[str, float]:
    return {"mean": float(values.mean()), "error": float(values.std(ddof=1) / np.sqrt(len(values)))}


def _evaluate_stage1(out: Path, results: dict, scenes, pictures, language_model: Path) -> list[dict]:
    host, encoder = find_host(), load_encoder(ENCODER)
    captions = [world.caption(scene) for scene in scenes]
    texts = encoder.encode_texts(captions).clone()
    results["stage1"], generated = {}, {}
    images = torch.empty(0)
    for name in report.STAGE1_LABELS:
        assistant = host.load(str(out / f"stage1-{name}"), base=str(language_model))
        pixels = measures.image_inputs(assistant, pictures)
        if not len(images):
            images = encoder.encode_pixels(pixels).clone()
        row = {
            "image": _summary(measures.caption_likelihood(assistant, pixels, captions)),
            "shuffled": _summary(measures.caption_likelihood(assistant, pixels, measures.rotate(captions))),
        }
        if name != "paired":
            assistant.tower.use_aligner(load_aligner(out / f"aligner-{name}"))
            row["text"] = _summary(measures.caption_likelihood(assistant, texts, captions))
        generated[name] = measures.caption_images(assistant, pictures)
        row["recall"] = measures.recall(generated[name], scenes)
        row["recall_shuffled"] = measures.recall(measures.rotate(generated[name]), scenes)
        results["stage1"][name] = row
    clouds = {"images": images.double().numpy()}
    for method in ("none", "realign"):
        clouds[method] = load_aligner(out / f"aligner-{method}").transform(texts.double()).numpy()
    moments = {name: stream_moments(as_rows(rows)) for name, rows in clouds.items()}
    results["clouds"], results["geometry"] = clouds, {}
    for name, rows in clouds.items():
        gap = float(np.linalg.norm(moments[name].mean - moments["images"].mean))
        results["geometry"][name] = {"centroid_gap": gap, "trace": moments[name].trace}
        if name != "images":
            results["geometry"][name]["paired_cosine"] = float((rows * clouds["images"]).sum(1).mean())
    return [
        {"truth": captions[i], "realign": generated["realign"][i], "none": generated["none"][i]}
        for i in range(EXAMPLES)
    ]


def _evaluate_stage2(out: Path, results: dict, scenes) -> list[dict]:
    """The checkpoints through lmms-eval, side by side, as `revision evaluate` runs it."""
    scene_questions = questions(scenes, seed=HELD_OUT_SEED)
    root = corpus.write_benchmark(scenes, out / "data" / "benchmark", seed=HELD_OUT_SEED)
    names = tuple(STAGE2_LABELS)
    settings = [
        {
            "model": out / f"stage2-{name}",
            "tasks": ["demo"],
            "data_root": root,
            "out": out / f"evaluation-{name}",
            "device": "cpu",
            "batch_size": measures.BATCH,
        }
        for name in names
    ]
    run_evaluations(settings, [out / f"evaluation-{name}.log" for name in names])
    results["stage2"], answers = {}, {}
    for name in names:
        answers[name] = run.replies(out / f"evaluation-{name}", "revision_demo")
        results["stage2"][name] = measures.accuracy([score for _, score in answers[name]], scene_questions)
    every = max(1, len(scene_questions) // SHEET) | 1  # an odd stride meets all kinds
    return [
        {
            "picture": scene_questions[i][0],
            "question": scene_questions[i][1].text,
            "truth": scene_questions[i][1].answer,
            "answer": answers["realign"][i][0],
            "right": answers["realign"][i][1] == 1,
        }
        for i in range(0, len(scene_questions), every)
    ][:SHEET]
