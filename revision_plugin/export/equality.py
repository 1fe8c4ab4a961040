"""Whether an exported folder is the model that was trained: the same prompts, pixels, logits and answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from .._common.processes import start_child
from ..errors import RevisionError
from ..hosts.checkpoint_parts import IMAGE_PLACE, CheckpointParts
from ..hosts.prompt_form import CaptionPrompt
from . import open_folder

TOLERANCE = 1e-5  # of a logit, of the largest one where that is above 1
QUESTIONS = ("What is in the picture?", "what color is it? answer with one word.", "Are there two of them?")
SHAPES = ((96, 96), (161, 97), (75, 210))  # square, wide and high
ANSWER_TOKENS = 16
UNWRITTEN = "nothing is written (with --no-check it would be)"


@dataclass(frozen=True)
class Equality:
    """The largest difference of a logit over the compared questions, and how many were compared."""

    logits: float
    questions: int


def compare(parts: CheckpointParts, folder: Path, *, seed: int = 0) -> Equality:
    """Compare the trained model with the exported `folder`, which a process of its own opens with transformers alone,
    on pictures and questions made here. Raises RevisionError where they differ, or where the folder does not open.
    """
    pictures = _pictures(seed)
    questions = [None] if isinstance(parts.prompt, CaptionPrompt) else list(QUESTIONS)
    asked = [(picture, questions[index % len(questions)]) for index, picture in enumerate(pictures)]
    with tempfile.TemporaryDirectory() as place:
        tensors, answers = _opened(folder, Path(place), asked)
    worst = 0.0
    trained = parts.ask([picture for picture, _ in asked], [question for _, question in asked], ANSWER_TOKENS)
    for index, (picture, question) in enumerate(asked):
        _require_same_prompt(parts, tensors[f"ids.{index}"].tolist(), question)
        _require_same_pixels(parts.pixels(picture), tensors[f"pixels.{index}"], parts.name)
        logits, exported = parts.logits(picture, question), tensors[f"logits.{index}"]
        difference = float((exported[:, : logits.shape[1]] - logits).abs().max())
        allowed = TOLERANCE * max(1.0, float(logits.abs().max()))
        if not difference <= allowed:
            raise RevisionError(
                f"{parts.name}: the exported model's logits differ by {difference:.2g}, more than {allowed:.2g}; "
                f"{UNWRITTEN}"
            )
        if answers[index].strip() != trained[index]:
            raise RevisionError(
                f"{parts.name}: the exported model answers '{answers[index].strip()[:60]}' where the trained one "
                f"answers '{trained[index][:60]}'; {UNWRITTEN}"
            )
        worst = max(worst, difference)
    return Equality(worst, len(asked))


def _opened(folder: Path, place: Path, asked: list) -> tuple[dict[str, torch.Tensor], list[str]]:
    """What the folder's receiver gets: a process that knows neither this package nor LLaVA, and no network."""
    records = []
    for index, (picture, question) in enumerate(asked):
        picture.save(place / f"{index}.png")
        records.append({"image": str(place / f"{index}.png"), "question": question, "max_new_tokens": ANSWER_TOKENS})
    (place / "questions.json").write_text(json.dumps(records))
    _run([str(folder.resolve()), str(place / "questions.json"), str(place / "opened")], place)
    return load_file(place / "opened.safetensors"), json.loads((place / "opened.json").read_text())


def _run(words: list[str], place: Path) -> None:
    """Run `open_folder` in a process of its own. Raises RevisionError with the last thing it says where it fails."""
    command = [sys.executable, "-P", str(Path(open_folder.__file__)), *words]
    own = {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(place / "modules"), "CUDA_VISIBLE_DEVICES": ""}
    with open(place / "log", "wb") as log:
        process = start_child(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **own}, cwd=place)
        try:
            status = process.wait()
        finally:
            process.kill()
    if status:
        lines = [line for line in (place / "log").read_text(errors="replace").splitlines() if line.strip()]
        last = lines[-1][:300] if lines else f"ended with status {status}"
        raise RevisionError(f"the exported folder does not open with transformers alone: {last}; {UNWRITTEN}")


def _require_same_prompt(parts: CheckpointParts, exported: list[int], question: str | None) -> None:
    trained = parts.prompt_ids(question)
    place = trained.index(IMAGE_PLACE)
    before, after = trained[:place], trained[place + 1 :]
    count = parts.visual_tokens
    images = exported[place : place + count]
    whole = exported[:place] == before and exported[place + count :] == after
    if not whole or len(set(images)) > 1 or len(images) != count:
        raise RevisionError(
            f"{parts.name}: the exported tokenizer cuts the prompt otherwise than the trained one; {UNWRITTEN}"
        )


def _require_same_pixels(pixels: torch.Tensor, exported: torch.Tensor, name: str) -> None:
    if pixels.shape != exported.shape or not torch.equal(pixels.float(), exported.float()):
        raise RevisionError(f"{name}: the exported preprocessing gives other pixels than the trained one; {UNWRITTEN}")


def _pictures(seed: int) -> list[Image.Image]:
    """Pictures of large coloured patches, of several shapes."""
    generator = np.random.default_rng(seed)
    pictures = []
    for width, height in SHAPES:
        patches = generator.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        pictures.append(Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC))
    return pictures
