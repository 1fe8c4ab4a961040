"""Builds the pseudo-vision tower where LLaVA builds its towers, from flags or from a checkpoint's config."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from ...errors import RevisionError
from ...tower import TOWER_NAME, PseudoVisionTower
from ..tower_flags import check_projector, checkpoint_encoder, tower_from_flags, training_record, use_flags
from ..tower_record import views_of
from .training import training


def build_or_pass_on(original: Callable) -> Callable:
    """`build_vision_tower` that builds the pseudo-vision tower by its name, and any other tower as before."""

    @functools.wraps(original)
    def build_vision_tower(config, **kwargs):
        name = getattr(config, "mm_vision_tower", getattr(config, "vision_tower", None))
        if name != TOWER_NAME:
            return original(config, **kwargs)
        # a model's config is data: whatever it says, it is not the flags of a user
        is_data = isinstance(config, PretrainedConfig) or hasattr(config, "revision")
        return _tower_from_config(getattr(config, "revision", None)) if is_data else tower_from_flags(config)

    return build_vision_tower


def _tower_from_config(record: Any) -> PseudoVisionTower:
    """The tower of a trained checkpoint: needs its encoder, and neither store nor statistics."""
    encoder = checkpoint_encoder(record)
    return PseudoVisionTower(encoder, tokens=record["tokens"], views=views_of(record, "the checkpoint's config.json"))


def record_for_inference(original: Callable) -> Callable:
    """`initialize_vision_modules` that writes into the model's config what inference needs."""

    @functools.wraps(original)
    def initialize_vision_modules(self, model_args, fsdp=None):
        if model_args.vision_tower == TOWER_NAME and model_args.pretrain_mm_mlp_adapter:
            check_projector(
                Path(model_args.pretrain_mm_mlp_adapter), model_args.revision_encoder, model_args.model_name_or_path
            )
        original(self, model_args, fsdp=fsdp)
        tower = self.get_vision_tower()
        training.tower = tower if isinstance(tower, PseudoVisionTower) else None
        training.config = self.config if training.tower is not None else None
        if training.tower is not None:
            merged = getattr(model_args, "mm_patch_merge_type", "flat")
            if merged != "flat" and tower.views.count > 1:
                raise RevisionError(
                    f"--mm_patch_merge_type {merged}: views are no tiles of one image's patches; leave it out"
                )
            use_flags(training.tower, model_args)
            self.config.revision = training_record(tower, model_args.version, model_args.model_name_or_path)

    return initialize_vision_modules
