"""Writes the embedded world as the files a user would have: LLaVA JSONs and folders of PNG images."""

from __future__ import annotations

import io
from pathlib import Path

from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from .._common.files import write_json
from . import questions, world
from .recipe import Recipe


def write_images(scenes: list[world.Scene], folder: Path, *, seed: int) -> list[str]:
    """Render scenes as `00000.png`, ... into `folder`; returns the names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{index:05d}.png" for index in range(len(scenes))]
    for name, picture in zip(names, world.render_all(scenes, seed=seed)):
        Image.fromarray(picture).save(folder / name)
    return names


def caption_records(scenes: list[world.Scene], names: list[str] | None = None) -> list[dict]:
    """LLaVA pretraining records: `<image>` answered by the full caption; with `names`, paired with images."""
    records = []
    for index, scene in enumerate(scenes):
        turns = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": world.caption(scene)}]
        record = {"id": f"{index:06d}", "conversations": turns}
        if names:
            record["image"] = names[index]
        records.append(record)
    return records


def question_records(scenes: list[world.Scene], names: list[str] | None, *, seed: int) -> list[dict]:
    """LLaVA instruction records: one conversation a scene, with one question of every kind.

    Without `names` a record carries its `caption` instead, for fully text-only training.
    """
    turns: dict[int, list[dict]] = {}
    for index, question in questions.questions(scenes, seed=seed):
        mark = "" if index in turns else "<image>\n"
        turns.setdefault(index, []).extend(
            [{"from": "human", "value": mark + question.text}, {"from": "gpt", "value": question.answer}]
        )
    records = []
    for index, scene in enumerate(scenes):
        source = {"image": names[index]} if names else {"caption": world.caption(scene)}
        records.append({"id": f"{index:06d}", **source, "conversations": turns[index]})
    return records


def write_corpus(path: Path, records: list[dict]) -> Path:
    """Write records as a LLaVA JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, records)
    return path


def write_corpora(data: Path, recipe: Recipe, seed: int) -> None:
    """The quickstart's data: texts.json, unpaired images/, pairs of the texts (paired.json, paired/), and questions
    about others (questions.json, asked/), all of training scenes.
    """
    paired = _train_scenes(recipe.texts, seed, 1)
    write_corpus(data / "texts.json", caption_records(paired))
    write_images(_train_scenes(recipe.images, seed, 2), data / "images", seed=seed + 2)
    names = write_images(paired, data / "paired", seed=seed + 3)
    write_corpus(data / "paired.json", caption_records(paired, names))
    scenes = _train_scenes(recipe.stage2_images, seed, 4)
    names = write_images(scenes, data / "asked", seed=seed + 4)
    write_corpus(data / "questions.json", question_records(scenes, names, seed=seed + 4))


def _train_scenes(count: int, seed: int, stream: int) -> list[world.Scene]:
    return world.sample_scenes(count, seed=1000 * seed + stream, held_out=False)


def write_benchmark(scenes: list[world.Scene], root: Path, *, seed: int) -> Path:
    """Questions about the scenes as the dataset of the lmms-eval task `revision_demo`; returns the `--data-root`."""
    rows, pictures = [], world.render_all(scenes, seed=seed)
    for index, question in questions.questions(scenes, seed=seed):
        data = io.BytesIO()
        Image.fromarray(pictures[index]).save(data, "PNG")
        rows.append(
            {
                "image": {"bytes": data.getvalue(), "path": None},
                "question": question.text,
                "answer": question.answer,
                "kind": question.kind,
                "id": f"{index:05d}-{question.kind}",
            }
        )
    features = {name: Value("string") for name in ("question", "answer", "kind", "id")} | {"image": ImageFeature()}
    folder = root / "revision-plugin" / "demo" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=Features(features)).to_parquet(folder / "test-00000-of-00001.parquet")
    return root
