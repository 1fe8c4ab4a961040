"""Part two of the claims: Stage 1, Stage 2 and the questions of each variant and seed, several at a time; a stopped run
goes on.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from revision_plugin._common.files import read_json, write_json
from revision_plugin._common.folders import ClaimedFolder
from revision_plugin.aligners import ALIGNERS
from revision_plugin.demo import measures, world
from revision_plugin.demo.jobs import training_flags
from revision_plugin.demo.questions import Question, questions
from revision_plugin.demo.recipe import HELD_OUT_SEED
from revision_plugin.errors import RevisionError
from revision_plugin.hosts import find_host
from scripts.claims.pool import run_all, time_kept
from scripts.claims.tuning_corpora import (
    ENCODER,
    captioned_questions_store,
    data_mark,
    images_store,
    pretraining_store,
    questions_file,
    statistics_rows,
    tuning_data,
    write_tuning_data,
)
from scripts.claims.tuning_plan import (
    ONE_VECTOR,
    PAIRED,
    PART,
    TEXTS,
    TUNING_BY_NAME,
    WITHOUT,
    TuningSettings,
    TuningVariant,
)
from scripts.claims.variant_training import RESULT, train_projector, training_folder

LANGUAGE_MODEL = world.ASSETS / "llm"
MARK = "tuning.json"


def run_tuning(
    out: Path, settings: TuningSettings, variants: list[TuningVariant], workers: int | None = None
) -> list[dict]:
    """Everything that is not done yet, under `out`; returns the record of every variant and seed.

    Raises RevisionError for fewer than two seeds, where `out` holds a run of other settings, or where a training fails.
    """
    if settings.seeds < 2:
        raise RevisionError("seeds are the unit of comparison; give at least 2")
    seeds, names = range(settings.seeds), [variant.name for variant in variants]
    shares = tuple(sorted({variant.share for variant in TUNING_BY_NAME.values()}))
    firsts = list(dict.fromkeys(variant.stage1 for variant in variants if variant.stage1 != WITHOUT))
    trained: dict[TuningVariant, list[str]] = {}  # a checkpoint is asked in all ways at once
    for variant in variants:
        trained.setdefault(variant.trained, []).append(variant.name)
    phases = {  # each task: a function, its arguments, and what is there when it is done
        "data": [(write_tuning_data, (out, settings, shares, seed), [data_mark(out, seed)]) for seed in seeds],
        "stage 1": [
            (train_stage1, (out, settings, stage1, seed), [stage1_mark(out, stage1, seed)])
            for seed in seeds
            for stage1 in firsts
        ],
        "stage 2": [
            (train_stage2, (out, settings, asked, seed), [result_file(out, name, seed) for name in asked])
            for seed in seeds
            for asked in trained.values()
        ],
    }
    workers = workers or os.cpu_count() or 1
    with ClaimedFolder(out, MARK, {"settings": settings.to_json()}), time_kept(out, workers) as keep_time:
        for title, tasks in phases.items():
            work = [(function, given) for function, given, done in tasks if not all(path.exists() for path in done)]
            run_all(title, "task", work, workers, out / f"{PART}.log", keep_time)
    return [read_json(result_file(out, name, seed)) for name in names for seed in seeds]


def stage1_folder(out: Path, stage1: str, seed: int) -> Path:
    """Of the projector of one Stage 1, which several variants share."""
    return training_folder(out, f"stage 1 {stage1}", seed)


def stage1_mark(out: Path, stage1: str, seed: int) -> Path:
    """What is there when it is trained: its times."""
    return stage1_folder(out, stage1, seed) / "seconds.json"


def result_file(out: Path, name: str, seed: int) -> Path:
    """The record of a variant."""
    return training_folder(out, name, seed) / RESULT


@contextlib.contextmanager
def _processor_time(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Keep under `name` the processor seconds of this process, which do not grow with what runs beside it."""
    started = time.process_time()
    yield
    seconds[name] = round(time.process_time() - started, 3)


def _flags(seed: int, steps: int, batch: int, rate: float, views: str = ONE_VECTOR) -> list[str]:
    shared = training_flags(LANGUAGE_MODEL, ENCODER, seed=seed + 1, steps=steps, batch=batch, rate=rate)
    return [*shared, "--revision_views", views]


def train_stage1(out: Path, settings: TuningSettings, stage1: str, seed: int) -> None:
    """A projector trained on aligned texts or on pairs; the aligner stays beside it."""
    folder, data = stage1_folder(out, stage1, seed), tuning_data(out, seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seconds: dict[str, float] = {}
    if stage1 == PAIRED:
        flags = ["--data_path", data / "paired.json", "--image_folder", data / "paired"]
        flags += ["--revision_image_store", images_store(out, seed, "paired", ONE_VECTOR)]
    else:
        with _processor_time(seconds, "fit"):
            aligner = ALIGNERS.get(stage1)()
            aligner.fit(*statistics_rows(out, settings, seed), encoder=ENCODER, seed=seed, held_out=0)
            aligner.save(folder / "aligner")
        flags = ["--data_path", pretraining_store(out, seed), "--revision_aligner", folder / "aligner"]
    with _processor_time(seconds, "stage 1"):
        shared = _flags(seed, settings.steps, settings.batch, settings.rate)
        train_projector([*shared, *map(str, flags)], settings.steps, folder / "projector")
    write_json(stage1_mark(out, stage1, seed), seconds)


def train_stage2(out: Path, settings: TuningSettings, names: list[str], seed: int) -> None:
    """All of the model tuned once over the instruction data, then asked as each of `names` says; these are variants of
    one checkpoint.
    """
    variant = TUNING_BY_NAME[names[0]].trained
    for name in names:
        shutil.rmtree(training_folder(out, name, seed), ignore_errors=True)
    model, stage1 = training_folder(out, variant.name, seed) / "model", stage1_folder(out, variant.stage1, seed)
    data, seconds = tuning_data(out, seed), {}
    if variant.stage2 == TEXTS:
        flags = ["--data_path", captioned_questions_store(out, seed), "--revision_aligner", stage1 / "aligner"]
    else:
        flags = ["--data_path", questions_file(out, seed, settings.tuned_scenes(variant.share))]
        flags += ["--image_folder", data / "asked"]
        flags += ["--revision_image_store", images_store(out, seed, "asked", variant.views)]
    if variant.stage1 != WITHOUT:
        flags += ["--pretrain_mm_mlp_adapter", stage1 / "projector" / "mm_projector.bin"]
        seconds |= read_json(stage1_mark(out, variant.stage1, seed))
    steps = settings.tuning_steps(variant.share)
    with _processor_time(seconds, "stage 2"):
        find_host().train(
            [
                *_flags(seed, steps, settings.tuning_batch, settings.tuning_rate, variant.views),
                *("--version", "v1"),
                *map(str, flags),
                *("--output_dir", str(model)),
            ]
        )
    assistant = find_host().load(str(model))
    pictures, asked = held_out_questions(settings)
    for name in names:
        times = dict(seconds)
        with _processor_time(times, "answers"):
            shown = None if TUNING_BY_NAME[name].blind else pictures
            right = measures.right_answers(assistant, shown, asked)
        record = {
            "part": PART,
            "variant": name,
            "seed": seed,
            "stage1": variant.stage1,
            "stage2": variant.stage2,
            "right": right,
            "kinds": [question.kind for _, question in asked],
            "seconds": times,
        }
        path = result_file(out, name, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, record)
    shutil.rmtree(model)


@functools.cache
def held_out_questions(settings: TuningSettings) -> tuple[np.ndarray, list[tuple[int, Question]]]:
    """Pictures uint8 [asked, H, W, 3] of scenes that no training sees, and questions about them as (picture, question),
    the same for all variants and seeds.
    """
    scenes = world.sample_scenes(settings.asked, seed=HELD_OUT_SEED, held_out=True, distinct=True)
    return world.render_all(scenes, seed=HELD_OUT_SEED), questions(scenes, seed=HELD_OUT_SEED)
