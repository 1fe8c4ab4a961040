"""transformers' Trainer for the HF-native form: checkpoints of what is trained, whole or not there at all."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ...errors import RevisionError
from .. import checkpoints
from ..native_form import TRAINED
from ..pace import Pace
from ..shims.partial_checkpoints import TrainedPartsOnly
from ..stop import require_finite_loss
from ..weight_files import read_safetensors
from .batch_order import ModalityGroups
from .training_model import PROJECTOR


def trained_weights(model: Any, *, keep: bool) -> dict[str, torch.Tensor]:
    """What of `model` is trained, on the CPU; in processes that do not `keep` it, none. Called by all processes, among
    which ZeRO-3 may have spread the weights.
    """
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            with _whole(parameter):
                if keep:
                    found[name] = parameter.detach().to("cpu", copy=True).contiguous()
    return found


def _whole(parameter: Any) -> contextlib.AbstractContextManager:
    if not hasattr(parameter, "ds_id"):
        return contextlib.nullcontext()
    deepspeed = importlib.import_module("deepspeed")  # an extra; it is there where it has spread them
    return deepspeed.zero.GatheredParameters([parameter])


def load_trained(model: Any, tensors: dict[str, torch.Tensor], where: object) -> None:
    """Give `model` the `trained_weights`. Raises RevisionError unless they are those of what it trains."""
    own = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    different = sorted(own.keys() ^ tensors.keys())
    if different:
        raise RevisionError(f"{where}: is of another training: '{different[0]}' is trained in one of them alone")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])


class NativeTrainer(Trainer):
    """Trains `model`; its loop, optimizers, schedules and engines are transformers'."""

    args: Any  # `NativeTrainingArguments`
    model: Any
    model_wrapped: Any

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self._pace = Pace(self)

    def log(self, logs: dict[str, float], *arguments: Any) -> None:
        super().log({**logs, **self._pace.take()} if "loss" in logs else logs, *arguments)

    def create_optimizer(self, *arguments: Any) -> Any:
        fresh = self.optimizer is None
        optimizer: Any = super().create_optimizer(*arguments)
        rate = self.args.mm_projector_lr
        if fresh and rate is not None and hasattr(optimizer, "param_groups"):
            own = {id(p) for name, p in self.model.named_parameters() if name.startswith(PROJECTOR)}
            for group in list(optimizer.param_groups):
                projector = [each for each in group["params"] if id(each) in own]
                group["params"] = [each for each in group["params"] if id(each) not in own]
                if projector:
                    optimizer.add_param_group({**group, "params": projector, "lr": rate})
        return optimizer

    def _get_train_sampler(self, *arguments: Any) -> Sampler | None:
        if not self.args.group_by_modality_length:
            return super()._get_train_sampler(*arguments)
        data: Any = self.train_dataset
        seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
        shares = self.args.world_size * self.args.gradient_accumulation_steps
        return ModalityGroups(data.modality_lengths, self.args.train_batch_size, shares, seed)

    def training_step(self, model: Any, inputs: Any, *arguments: Any, **keywords: Any) -> torch.Tensor:
        self._pace.count(inputs)
        loss = super().training_step(model, inputs, *arguments, **keywords)
        require_finite_loss(loss, self.state.global_step + 1)
        return loss

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Trainer's, begun with a note and ended with a mark, so that a kill leaves nothing that looks whole; older
        checkpoints go once this one is.
        """
        out = Path(self._get_output_dir(trial=trial))
        checkpoints.require_finite(self.model)
        folder = out / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.should_save:
            checkpoints.begin(out, folder.name)
        checkpoints.wait_for_all()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        checkpoints.wait_for_all()
        if self.args.should_save:
            checkpoints.complete(folder)
            with checkpoints.deleting_older(out):
                checkpoints.rotate(self, str(out))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The trained weights of a checkpoint; DeepSpeed saves its own. The final folder is written elsewhere."""
        if self.is_deepspeed_enabled or output_dir is None:
            return
        weights = trained_weights(self.model, keep=self.args.should_save)
        if self.args.should_save:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            save_file(weights, Path(output_dir) / TRAINED)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_deepspeed_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        engine, self.model_wrapped = self.model_wrapped, TrainedPartsOnly(self.model_wrapped)
        try:
            super()._save_optimizer_and_scheduler(output_dir)
        finally:
            self.model_wrapped = engine

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        file = Path(resume_from_checkpoint) / TRAINED
        load_trained(model or self.model, read_safetensors(file), file)
