"""Both stages stop anywhere and resume with the same result.

LLaVA 1.2.2 saves a Stage-1 checkpoint without optimizer, schedule and random state, so it can start again but not
resume; it draws grouped batches from the process' random state; and it writes its final weights in place. With the
plugin's tower all of that is mended; with any other tower LLaVA is left as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from llava.train import llava_trainer
from safetensors.torch import save_file
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..._common.distributed import launched_rank
from ...errors import RevisionError
from ...tower import PseudoVisionTower
from .. import checkpoints, run_record
from ..shims.partial_checkpoints import TrainedPartsOnly
from ..weight_files import read_tensors
from .training import training
from .weights import LORA_FILE

PROJECTOR = "mm_projector.bin"
LORA = "lora_"  # in the names of adapters


def uses_plugin(trainer) -> bool:
    """Whether `trainer` trains a model with the plugin's tower."""
    model = trainer.model
    tower = model.get_vision_tower() if hasattr(model, "get_vision_tower") else None
    return isinstance(tower, PseudoVisionTower)


def is_stage1(trainer) -> bool:
    """Whether the projector alone is trained and saved: the host's own rule where it has one (LLaVA-NeXT)."""
    rule = getattr(llava_trainer, "should_only_save_mm_adapter", None)
    return bool(rule(trainer.args) if rule else getattr(trainer.args, "tune_mm_mlp_adapter", False))


def recorded_start(original: Callable) -> Callable:
    """The Trainer's constructor that takes its tokenizer by today's name, tidies up after a kill and completes
    run.json.
    """

    @functools.wraps(original)
    def __init__(self, *arguments, **keywords):
        if "tokenizer" in keywords:
            keywords["processing_class"] = keywords.pop("tokenizer")
        original(self, *arguments, **keywords)
        if uses_plugin(self):
            if training.several_rows and self.args.n_gpu > 1:  # one process, which would cut the rows apart
                raise RevisionError(
                    f"one process trains on {self.args.n_gpu} GPUs, among which views cannot be shared out; launch it "
                    "with torchrun or deepspeed, or choose one with CUDA_VISIBLE_DEVICES"
                )
            checkpoints.tidy_for_all(Path(self.args.output_dir))
            if self.args.process_index == 0:
                details = {"training_arguments": self.args.to_dict(), "model": self.model.config.to_dict()}
                run_record.add(Path(self.args.output_dir), "resolved", details)

    return __init__


def checkpoint_saver(original: Callable) -> Callable:
    """`_save_checkpoint` that leaves all that resuming needs, and rotates older ones only when the new one is whole.

    LLaVA's own hands a 'metrics' argument to Trainer's, which no longer takes it.
    """

    @functools.wraps(original)
    def _save_checkpoint(self, model, trial, metrics=None):
        if not uses_plugin(self):
            save = original if is_stage1(self) else Trainer._save_checkpoint
            return save(self, model, trial)
        out = Path(self._get_output_dir(trial=trial))
        checkpoints.require_finite(self.model)
        folder = out / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.should_save:
            checkpoints.begin(out, folder.name)
        if is_stage1(self):
            original(self, model, trial)  # the projector
        Trainer._save_checkpoint(self, model, trial)
        if self.args.should_save and _has_adapters(self) and not self.is_deepspeed_enabled:
            rest = {n: p.detach().cpu() for n, p in self.model.named_parameters() if p.requires_grad and LORA not in n}
            torch.save(rest, folder / LORA_FILE)
        checkpoints.wait_for_all()
        if self.args.should_save:
            checkpoints.complete(folder)
            with checkpoints.deleting_older(out):
                checkpoints.rotate(self, str(out))

    return _save_checkpoint


def _newest_is_torn(folder: str | Path) -> bool:
    """Whether the newest checkpoint of a training with the plugin's tower is not whole yet."""
    return run_record.is_begun(Path(folder)) and checkpoints.newest_is_torn(Path(folder))


def rotation_of_whole_ones(original: Callable) -> Callable:
    """The Trainer's method, on transformers 4, that deletes older checkpoints: only once the newest is whole."""

    @functools.wraps(original)
    def _rotate_checkpoints(self, use_mtime=False, output_dir=None):
        if output_dir is None or not _newest_is_torn(output_dir):
            original(self, use_mtime=use_mtime, output_dir=output_dir)

    return _rotate_checkpoints


def function_rotating_whole_ones(original: Callable) -> Callable:
    """The same as a function, on transformers 5."""

    @functools.wraps(original)
    def rotate_checkpoints(output_dir, *arguments, **keywords):
        if not _newest_is_torn(output_dir):
            original(output_dir, *arguments, **keywords)

    return rotate_checkpoints


def model_saver(original: Callable) -> Callable:
    """`save_model` that writes no weights of the frozen language model into a Stage-1 checkpoint."""

    @functools.wraps(original)
    def save_model(self, output_dir=None, _internal_call=False):
        if _internal_call and uses_plugin(self) and is_stage1(self):
            return None
        return original(self, output_dir, _internal_call)

    return save_model


def optimizer_saver(original: Callable) -> Callable:
    """`_save_optimizer_and_scheduler` that leaves the frozen language model out of a DeepSpeed checkpoint of Stage
    1.
    """

    @functools.wraps(original)
    def _save_optimizer_and_scheduler(self, output_dir):
        if not (self.is_deepspeed_enabled and uses_plugin(self) and is_stage1(self)):
            return original(self, output_dir)
        engine, self.model_wrapped = self.model_wrapped, TrainedPartsOnly(self.model_wrapped)
        try:
            return original(self, output_dir)
        finally:
            self.model_wrapped = engine

    return _save_optimizer_and_scheduler


def _has_adapters(trainer) -> bool:
    """Whether adapters (LoRA) are trained, beside the projector."""
    return bool(getattr(trainer.args, "lora_enable", False))


def _require_taken(path: Path, loading: Any) -> None:
    if loading.unexpected_keys:
        raise RevisionError(f"{path}: has weights '{loading.unexpected_keys[0]}' that this model lacks")


def checkpoint_loader(original):
    """`_load_from_checkpoint` that takes a Stage-1 checkpoint's projector."""

    @functools.wraps(original)
    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if not uses_plugin(self):
            return original(self, resume_from_checkpoint, model)
        if not is_stage1(self):
            result = original(self, resume_from_checkpoint, model)
            if _has_adapters(self):  # peft's loader takes the adapters alone
                rest = read_tensors(Path(resume_from_checkpoint) / LORA_FILE)
                _require_taken(Path(resume_from_checkpoint) / LORA_FILE, self.model.load_state_dict(rest, strict=False))
            return result
        path = Path(resume_from_checkpoint) / PROJECTOR
        weights = torch.load(path, map_location="cpu", weights_only=True)
        _require_taken(path, (model or self.model).load_state_dict(weights, strict=False))
        return None

    return _load_from_checkpoint


class SeededByEpoch(Sampler):
    """LLaVA's sampler of grouped batches, drawn from the seed and the epoch alone."""

    def __init__(self, sampler: Any, seed: int):
        self._sampler, self._seed, self.epoch = sampler, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self):
        self._sampler.generator = torch.Generator().manual_seed(self._seed + self.epoch)
        return iter(self._sampler)


def seeded_sampler(original: Callable) -> Callable:
    """`_get_train_sampler` whose grouped batches come from the seed and the epoch, not from the process' random state.

    Trainer passes it the dataset today; LLaVA's takes none.
    """

    @functools.wraps(original)
    def _get_train_sampler(self, train_dataset=None):
        sampler = original(self)
        if self.args.group_by_modality_length and uses_plugin(self):
            seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
            return SeededByEpoch(sampler, seed)
        return sampler

    return _get_train_sampler


def final_saver(original: Callable) -> Callable:
    """LLaVA's last save, in which every file appears whole and the weights last, with a safetensors copy of the
    projector.
    """

    @functools.wraps(original)
    def safe_save_model_for_hf_trainer(trainer, output_dir):
        if not uses_plugin(trainer):
            return original(trainer, output_dir)
        checkpoints.require_finite(trainer.model)
        unfinished = Path(output_dir) / checkpoints.UNFINISHED
        if launched_rank() == 0:
            checkpoints.begin(Path(output_dir), checkpoints.UNFINISHED)
        checkpoints.wait_for_all()
        original(trainer, str(unfinished))
        checkpoints.wait_for_all()
        if trainer.args.should_save:
            if is_stage1(trainer):
                weights = torch.load(unfinished / PROJECTOR, map_location="cpu", weights_only=True)
                save_file({k: v.contiguous() for k, v in weights.items()}, unfinished / "mm_projector.safetensors")
            checkpoints.publish(Path(output_dir))
        checkpoints.wait_for_all()
        return None

    return safe_save_model_for_hf_trainer
