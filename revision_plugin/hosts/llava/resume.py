"""Both stages stop anywhere and resume with the same result.

LLaVA 1.2.2 saves a Stage-1 checkpoint without optimizer, schedule and random state, so it can start again but not
resume; it draws grouped batches from the process' random state; and it writes its final weights in place. With the
plugin's tower all of that is mended; with any other tower LLaVA is left as it is.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
from pathlib import Path

from ..._common.distributed import launched_rank
from ...errors import RevisionError
from ...tower import PseudoVisionTower
from .. import run_record
from ..shims.transformers_trainer import saves_only_projector

logger = logging.getLogger(__name__)
COMPLETE = "revision_complete.json"  # the last file of a checkpoint: without it a kill cut the others short
PROJECTOR = "mm_projector.bin"


def uses_plugin(trainer) -> bool:
    """Whether `trainer` trains a model with the plugin's tower."""
    model = trainer.model
    tower = model.get_vision_tower() if hasattr(model, "get_vision_tower") else None
    return isinstance(tower, PseudoVisionTower)


def is_stage1(trainer) -> bool:
    """Whether the projector alone is trained and saved, as the flags of either LLaVA say it."""
    return saves_only_projector(trainer.args)


def wait_for_all() -> None:
    """A barrier where there are several processes."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.barrier()


def drop_torn_checkpoints(out: str | Path) -> None:
    """Delete checkpoints in which a kill left something out; all processes return when that is done."""
    if launched_rank() == 0:
        for folder in sorted(Path(out).glob("checkpoint-*")):
            if not (folder / COMPLETE).exists():
                logger.warning("%s: was cut short by a kill and is deleted", folder)
                shutil.rmtree(folder)
    wait_for_all()


def recording_start(original):
    """The Trainer's constructor that also tidies up after a kill and completes run.json."""

    @functools.wraps(original)
    def __init__(self, *arguments, **keywords):
        original(self, *arguments, **keywords)
        if uses_plugin(self):
            drop_torn_checkpoints(self.args.output_dir)
            if self.args.process_index == 0:
                details = {"training_arguments": self.args.to_dict(), "model": self.model.config.to_dict()}
                run_record.add(Path(self.args.output_dir), "resolved", details)

    return __init__


def checkpoint_saver(original):
    """`_save_checkpoint` that leaves all that resuming needs, and rotates older ones only when the new one is whole."""

    @functools.wraps(original)
    def _save_checkpoint(self, model, trial, metrics=None):
        if not uses_plugin(self):
            return original(self, model, trial, metrics)
        from transformers import Trainer
        from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

        folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            if is_stage1(self):
                original(self, model, trial)  # the projector
                with _without_language_model(self):
                    Trainer._save_checkpoint(self, model, trial)
            else:
                Trainer._save_checkpoint(self, model, trial)
        finally:
            self.args.save_total_limit = limit
        wait_for_all()
        if self.args.should_save:
            (folder / COMPLETE).write_text("{}\n")
            _rotate(self, str(folder.parent))

    return _save_checkpoint


def _rotate(trainer, folder: str) -> None:
    if hasattr(trainer, "_rotate_checkpoints"):
        trainer._rotate_checkpoints(use_mtime=False, output_dir=folder)
        return
    from transformers.trainer_utils import rotate_checkpoints  # since transformers 5

    limit, best = trainer.args.save_total_limit, trainer.state.best_model_checkpoint
    rotate_checkpoints(output_dir=folder, save_total_limit=limit, best_model_checkpoint=best, use_mtime=False)


@contextlib.contextmanager
def _without_language_model(trainer):
    """Inside, saving a checkpoint writes no weights of the frozen language model."""
    engine = trainer.model_wrapped if trainer.is_deepspeed_enabled else None
    trainer.save_model = lambda *arguments, **keywords: None
    if engine is not None:
        engine.save_checkpoint = functools.partial(type(engine).save_checkpoint, engine, exclude_frozen_parameters=True)
    try:
        yield
    finally:
        del trainer.save_model
        if engine is not None:
            del engine.save_checkpoint


def checkpoint_loader(original):
    """`_load_from_checkpoint` that takes a Stage-1 checkpoint's projector."""

    @functools.wraps(original)
    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if not (uses_plugin(self) and is_stage1(self)):
            return original(self, resume_from_checkpoint, model)
        import torch

        path = Path(resume_from_checkpoint) / PROJECTOR
        weights = torch.load(path, map_location="cpu", weights_only=True)
        found = (model or self.model).load_state_dict(weights, strict=False)
        if found.unexpected_keys:
            raise RevisionError(f"{path}: has weights '{found.unexpected_keys[0]}' that this model lacks")
        return None

    return _load_from_checkpoint


def partial_loader(original):
    """transformers' `deepspeed_load_checkpoint` for checkpoints that leave out frozen parameters."""

    @functools.wraps(original)
    def deepspeed_load_checkpoint(engine, checkpoint_path, load_module_strict=True):
        frozen = any(not parameter.requires_grad for parameter in engine.module.parameters())
        return original(engine, checkpoint_path, load_module_strict=load_module_strict and not frozen)

    return deepspeed_load_checkpoint


def seeded_sampler(original):
    """`_get_train_sampler` whose grouped batches come from the seed and the epoch, not from the process' random state."""

    @functools.wraps(original)
    def _get_train_sampler(self, *arguments, **keywords):
        sampler = original(self, *arguments, **keywords)
        if self.args.group_by_modality_length and uses_plugin(self):
            seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
            return _by_epoch(sampler, seed)
        return sampler

    return _get_train_sampler


def _by_epoch(sampler, seed: int):
    import torch
    from torch.utils.data import Sampler

    class ByEpoch(Sampler):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __len__(self) -> int:
            return len(sampler)

        def __iter__(self):
            sampler.generator = torch.Generator().manual_seed(seed + self.epoch)
            return iter(sampler)

    return ByEpoch()


def final_saver(original):
    """LLaVA's last save, in which every file appears whole and the weights last, with a safetensors copy of the projector."""

    @functools.wraps(original)
    def safe_save_model_for_hf_trainer(trainer, output_dir):
        if not uses_plugin(trainer):
            return original(trainer, output_dir)
        unfinished = Path(output_dir) / ".unfinished"
        original(trainer, str(unfinished))
        wait_for_all()
        if trainer.args.should_save:
            if is_stage1(trainer):
                import torch
                from safetensors.torch import save_file

                weights = torch.load(unfinished / PROJECTOR, map_location="cpu", weights_only=True)
                save_file({k: v.contiguous() for k, v in weights.items()}, unfinished / "mm_projector.safetensors")
            for path in sorted(unfinished.iterdir(), key=_weights_last):
                os.replace(path, Path(output_dir) / path.name)
            unfinished.rmdir()
        wait_for_all()
        return None

    return safe_save_model_for_hf_trainer


def _weights_last(path: Path) -> tuple[int, str]:
    marks = (PROJECTOR, "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    return (marks.index(path.name) + 1 if path.name in marks else 0, path.name)
