"""Builds the pseudo-vision tower where LLaVA builds its towers, from flags or from a checkpoint's config."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from ..._common.files import read_object
from ...aligners import Aligner, load_aligner
from ...corpora.image_views import ImageViews
from ...embeddings.item_views import PARTS, WHOLE
from ...encoders import Encoder, Identity, load_encoder, require_same
from ...errors import RevisionError
from ...tower import TOWER_NAME, PseudoVisionTower
from .. import run_record
from ..tower_record import checked_record, views_of
from .training import training
from .weights import check_projector_file

logger = logging.getLogger(__name__)


def build_or_pass_on(original: Callable) -> Callable:
    """`build_vision_tower` that builds the pseudo-vision tower by its name, and any other tower as before."""

    @functools.wraps(original)
    def build_vision_tower(config, **kwargs):
        name = getattr(config, "mm_vision_tower", getattr(config, "vision_tower", None))
        if name != TOWER_NAME:
            return original(config, **kwargs)
        # a model's config is data: whatever it says, it is not the flags of a user
        is_data = isinstance(config, PretrainedConfig) or hasattr(config, "revision")
        return _tower_from_config(getattr(config, "revision", None)) if is_data else _tower_from_flags(config)

    return build_vision_tower


def _tower_from_flags(arguments: Any) -> PseudoVisionTower:
    spec = getattr(arguments, "revision_encoder", None)
    if not spec:
        raise RevisionError(
            f"--vision_tower {TOWER_NAME} needs --revision_encoder SPEC, the encoder your store was made with"
        )
    views = ImageViews.parse(arguments.revision_views or "1")
    tower = PseudoVisionTower(load_encoder(spec), tokens=arguments.revision_tokens, views=views)
    tower.load_model()
    return tower


def _tower_from_config(record: Any) -> PseudoVisionTower:
    """The tower of a trained checkpoint: needs its encoder, and neither store nor statistics."""
    encoder = checkpoint_encoder(record)
    return PseudoVisionTower(encoder, tokens=record["tokens"], views=views_of(record, "the checkpoint's config.json"))


def checkpoint_encoder(record: Any) -> Encoder:
    """The encoder a checkpoint was trained with. Raises RevisionError where it is missing or another one now, or is a
    module that nobody consented to.
    """
    record = checked_record(record, "the checkpoint's config.json")
    trained = Identity.from_json(record["encoder"], "the checkpoint's config.json")
    try:
        encoder = load_encoder(trained.spec, named_by_data=True, code=record.get("encoder_code"))
    except RevisionError as error:
        raise RevisionError(f"the checkpoint's encoder '{trained.spec}' cannot be loaded: {error}") from None
    problem = "the checkpoint was trained with another encoder than the one there now"
    require_same(trained, encoder.image_identity, problem, "put the original encoder back", images_only=True)
    return encoder


def record_for_inference(original: Callable) -> Callable:
    """`initialize_vision_modules` that writes into the model's config what inference needs."""

    @functools.wraps(original)
    def initialize_vision_modules(self, model_args, fsdp=None):
        if model_args.vision_tower == TOWER_NAME and model_args.pretrain_mm_mlp_adapter:
            _check_projector(
                Path(model_args.pretrain_mm_mlp_adapter), model_args.revision_encoder, model_args.model_name_or_path
            )
        original(self, model_args, fsdp=fsdp)
        tower = self.get_vision_tower()
        training.tower = tower if isinstance(tower, PseudoVisionTower) else None
        training.config = self.config if training.tower is not None else None
        if training.tower is not None:
            _use_flags(training.tower, model_args)
            self.config.revision = {
                "encoder": tower.encoder.identity.to_json(),
                "tokens": tower.num_patches,
                **({"views": str(tower.views)} if tower.views.count > 1 else {}),
                "aligner": tower.aligner.identity if tower.aligner else None,
                **({"part_aligner": tower.part_aligner.identity} if tower.part_aligner else {}),
                "conversation": model_args.version,
                "language_model": run_record.weights_identity(model_args.model_name_or_path),
                **({"encoder_code": tower.encoder.code_record} if tower.encoder.code_record else {}),
            }
            fingerprint = tower.encoder.identity.fingerprint
            run_record.require_same("encoder", fingerprint, "another content of its --revision_encoder")

    return initialize_vision_modules


def _use_flags(tower: PseudoVisionTower, model_args: Any) -> None:
    """Give the tower the flags' aligners; a model that brings its own tower must have been given the same encoder and
    views.
    """
    if model_args.revision_encoder:
        require_same(
            tower.encoder.identity,
            load_encoder(model_args.revision_encoder).identity,
            f"--revision_encoder {model_args.revision_encoder}: the model was trained with another one",
            "give that one",
        )
    if model_args.revision_views and ImageViews.parse(model_args.revision_views) != tower.views:
        raise RevisionError(
            f"--revision_views {model_args.revision_views}: the model was trained with '{tower.views}'; give that, or "
            "leave it out"
        )
    merged = getattr(model_args, "mm_patch_merge_type", "flat")
    if merged != "flat" and tower.views.count > 1:
        raise RevisionError(f"--mm_patch_merge_type {merged}: views are no tiles of one image's patches; leave it out")
    tower.use_aligner(
        _aligner(model_args.revision_aligner, tower, "--revision_aligner", parts=False),
        _aligner(model_args.revision_part_aligner, tower, "--revision_part_aligner", parts=True),
    )


def _aligner(path: str | None, tower: PseudoVisionTower, flag: str, *, parts: bool) -> Aligner | None:
    if not path:
        return None
    aligner = load_aligner(path)
    aligner.check_encoder(tower.encoder.identity, "--revision_encoder")
    report = aligner.report
    fitted = {(corpus.view or WHOLE) == WHOLE for corpus in (report.source, report.target)}
    if fitted != {not parts}:
        kind = "parts" if parts else "wholes"
        raise RevisionError(f"{flag} {path}: was not fitted on {kind}; fit one with --view {PARTS if parts else WHOLE}")
    if parts and report.target.views != str(tower.views):
        raise RevisionError(
            f"{flag} {path}: was fitted on parts of '{report.target.views}', --revision_views says '{tower.views}'; "
            "fit one on these"
        )
    return aligner


def _check_projector(path: Path, spec: str | None, model_name: str) -> None:
    """Raise RevisionError where a Stage-1 projector was trained with another encoder than `spec`."""
    if not path.is_file():
        raise RevisionError(
            f"{path}: no such projector; give the mm_projector.bin of Stage 1 to --pretrain_mm_mlp_adapter"
        )
    check_projector_file(path)
    config = path.with_name("config.json")
    record = read_object(config).get("revision") if config.is_file() else None
    if record and spec:
        trained = Identity.from_json(record.get("encoder"), str(config))
        problem = f"{path}: was trained with another encoder"
        require_same(trained, load_encoder(spec).identity, problem, "use one encoder in both stages")
    model = run_record.weights_identity(model_name)
    if record and None not in (model, record.get("language_model")) and record["language_model"] != model:
        logger.warning("warning: %s was trained with other weights of a language model than %s", path, model_name)
