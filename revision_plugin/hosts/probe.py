"""The loss given real images, on held-out pairs, while a training goes on: it reads none of them to learn from."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from .._common.distributed import launched_processes, launched_rank
from ..corpora.texts import read_records
from ..embeddings.store import Store, is_store
from ..errors import RevisionError
from ..tower import PseudoVisionTower
from ..visual_batch import IMAGE, headed
from .examples import StoredImages, image_name
from .record_images import record_pixels
from .training_records import record_problem
from .training_stores import check_store

FLAG, IMAGES = "--revision_probe", "--revision_probe_images"
IGNORED = -100  # the label of what is not predicted
Item = Callable[[list[dict[str, str]], torch.Tensor, str], dict[str, Any]]


@dataclass(frozen=True)
class Probe:
    """Held-out examples as the host trains on them: this process' share of all `rows`, a row at a time. Every process
    makes `passes` forward passes, the last with an example again, which does not count, where its share is smaller.
    """

    items: list[dict[str, Any]]
    rows: int
    passes: int
    steps: int
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]]


def read_probe(data_args: Any, tower: PseudoVisionTower, item: Item, collate: Callable) -> Probe | None:
    """The probe that the flags ask for, whose images are encoded here, once; None where they ask for none.

    `item` makes a host's example of turns, an image's headed embeddings [V, 1 + D] and a name. Raises RevisionError for
    records without a caption or an image that can be read.
    """
    path, images = data_args.revision_probe, data_args.revision_probe_images
    if not path:
        if images:
            raise RevisionError(f"{IMAGES} {images}: is for {FLAG}; give the JSON of its captions, or leave it out")
        return None
    if is_store(path):
        raise RevisionError(
            f"{FLAG} {path}: a store of images has no captions; give their LLaVA JSON, and it to {IMAGES}"
        )
    if Path(path).suffix.lower() != ".json" or not Path(path).is_file():
        raise RevisionError(f"{FLAG} {path}: is no LLaVA JSON; give one with images and captions")
    records = _checked(path, data_args.revision_probe_rows)
    processes = launched_processes()
    passes = -(-len(records) // processes)
    share = records[launched_rank() :: processes] or records[:1]
    items = []
    for record, embedding in zip(share, _embeddings(records, share, data_args, tower)):
        name = str(record.get("id", record["image"]))
        items.append(item(record["conversations"], embedding, name))
        if (items[-1]["labels"][1:] == IGNORED).all():
            raise RevisionError(f"{FLAG} {path}: '{name}' has no token that is predicted; give it a caption")
    return Probe(items, len(records), passes, data_args.revision_probe_steps, collate)


def _checked(path: str, most: int) -> list[dict]:
    """At most `most` records, evenly spread over the JSON. Raises RevisionError for those that are no pairs."""
    records: list[Any] = list(read_records(Path(path), "images"))
    if not records:
        raise RevisionError(f"{FLAG} {path}: holds no record")
    count = min(most, len(records))
    numbers = [place * len(records) // count for place in range(count)]
    problems = []
    for number in numbers:
        problem = record_problem(records[number], joined=False)
        if problem is None and image_name(records[number]) is None:
            problem = "is about no single image"
        if problem:
            name = records[number].get("id", number) if isinstance(records[number], dict) else number
            problems.append(f"'{name}': {problem}")
    if problems:
        raise RevisionError(f"{FLAG} {path}: {len(problems)} of {count} record(s) cannot be used, first {problems[0]}")
    return [records[number] for number in numbers]


def _embeddings(
    records: list[dict], share: list[dict], data_args: Any, tower: PseudoVisionTower
) -> Iterator[torch.Tensor]:
    """Of each image of `share` its views' embeddings, headed: float32 [V, 1 + D]."""
    place = data_args.revision_probe_images or data_args.image_folder
    square = getattr(data_args, "image_aspect_ratio", None) == "pad"
    if not place:
        raise RevisionError(f"{FLAG}: has images; give {IMAGES}, their folder or a store of them")
    if is_store(place):
        if square:
            raise RevisionError(f"{IMAGES} {place}: its images were encoded without padding; give their folder")
        store = Store.open(place)
        check_store(store, tower.encoder.identity)
        stored = StoredImages(store, tower.views, records, data_args.revision_probe, flag=IMAGES)
        yield from map(stored.embedding, share)
        return
    folder = Path(place).resolve()
    for record in share:
        pixels = record_pixels(folder, str(image_name(record)), tower.image_processor, square=square)
        features = tower(pixels[None].to(tower.device))[0, :: tower.num_patches].float().cpu()  # [V, D]
        yield headed(features, torch.full((len(features),), IMAGE))


class ProbeCallback(TrainerCallback):
    """Logs `probe_loss`, nats a predicted token, with `probe_loss_error`, its standard error over rows, and
    `probe_rows`: at the first step, every so many steps and at the last one. Leaves model and random state as they are.
    """

    def __init__(self, trainer: Any, probe: Probe):
        self._trainer, self._probe = trainer, probe

    def on_train_begin(self, args, state, control, **keywords):
        if state.global_step == 0:
            self._log(control)

    def on_step_end(self, args, state, control, **keywords):
        if state.global_step % self._probe.steps == 0 or state.global_step >= state.max_steps:
            self._log(control)

    def _log(self, control) -> None:
        should_log = control.should_log  # of the loss, which logging unsets
        self._trainer.log(self.measure())
        control.should_log = should_log

    def measure(self) -> dict[str, float]:
        """The loss now; called by all processes."""
        trainer, probe = self._trainer, self._probe
        sums = torch.zeros(5, dtype=torch.float64, device=trainer.args.device)
        with _unchanged(trainer.model_wrapped) as model, torch.no_grad(), trainer.compute_loss_context_manager():
            for number in range(probe.passes):
                item = probe.items[min(number, len(probe.items) - 1)]
                loss = model(**trainer._prepare_inputs(probe.collate([item])))["loss"]
                if launched_rank() + number * launched_processes() < probe.rows:
                    tokens = int((item["labels"][1:] != IGNORED).sum())
                    nats = loss.double() * tokens
                    sums += torch.stack([nats, nats * 0 + tokens, nats * nats, nats * tokens, nats * 0 + tokens**2])
        nats, tokens, *squares = trainer.accelerator.reduce(sums, "sum").tolist()
        return {**_ratio(nats, tokens, squares, probe.rows), "probe_rows": probe.rows}


def _ratio(nats: float, tokens: float, squares: list[float], rows: int) -> dict[str, float]:
    """Nats a token, and the standard error of this ratio of sums over rows, linearized (Cochran, Sampling Techniques,
    third edition, eq. (6.9)); `squares` are the sums of the rows' nats^2, nats * tokens and tokens^2.
    """
    loss = nats / tokens
    spread = squares[0] - 2 * loss * squares[1] + loss * loss * squares[2]
    error = (max(spread, 0.0) * rows / (rows - 1)) ** 0.5 / tokens if rows > 1 else 0.0
    return {"probe_loss": loss, "probe_loss_error": error}


@contextlib.contextmanager
def _unchanged(model: Any) -> Iterator[Any]:
    """`model` in evaluation inside; afterwards its modules and all random states are as they were."""
    modes = [(module, module.training) for module in model.modules()]
    others, numbers = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        model.eval()
        try:
            yield model
        finally:
            for module, mode in modes:
                module.training = mode
            random.setstate(others)
            np.random.set_state(numbers)
