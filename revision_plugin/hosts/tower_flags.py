"""The pseudo-vision tower that the plugin's flags, or a checkpoint's record, ask for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from .._common.files import read_object
from ..aligners import Aligner, load_aligner
from ..corpora.image_views import ImageViews
from ..embeddings.item_views import PARTS, WHOLE
from ..encoders import Encoder, Identity, load_encoder, require_same
from ..errors import RevisionError
from ..tower import TOWER_NAME, PseudoVisionTower
from . import run_record
from .tower_record import checked_record
from .weight_files import check_projector_file

logger = logging.getLogger(__name__)


def tower_from_flags(arguments: Any) -> PseudoVisionTower:
    spec = getattr(arguments, "revision_encoder", None)
    if not spec:
        raise RevisionError(
            f"--vision_tower {TOWER_NAME} needs --revision_encoder SPEC, the encoder your store was made with"
        )
    views = ImageViews.parse(arguments.revision_views or "1")
    tower = PseudoVisionTower(load_encoder(spec), tokens=arguments.revision_tokens, views=views)
    tower.load_model()
    return tower


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


def use_flags(tower: PseudoVisionTower, arguments: Any) -> None:
    """Give the tower the flags' aligners; a model that brings its own tower must have been given the same encoder and
    views.
    """
    if arguments.revision_encoder:
        require_same(
            tower.encoder.identity,
            load_encoder(arguments.revision_encoder).identity,
            f"--revision_encoder {arguments.revision_encoder}: the model was trained with another one",
            "give that one",
        )
    if arguments.revision_views and ImageViews.parse(arguments.revision_views) != tower.views:
        raise RevisionError(
            f"--revision_views {arguments.revision_views}: the model was trained with '{tower.views}'; give that, or "
            "leave it out"
        )
    tower.use_aligner(
        _aligner(arguments.revision_aligner, tower, "--revision_aligner", parts=False),
        _aligner(arguments.revision_part_aligner, tower, "--revision_part_aligner", parts=True),
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


def training_record(tower: PseudoVisionTower, version: str, model_name: str) -> dict:
    """What a checkpoint's config says of its training, under `revision`. Raises RevisionError where a stopped training
    had another content of the encoder.
    """
    fingerprint = tower.encoder.identity.fingerprint
    run_record.require_same("encoder", fingerprint, "another content of its --revision_encoder")
    return {
        "encoder": tower.encoder.identity.to_json(),
        "tokens": tower.num_patches,
        **({"views": str(tower.views)} if tower.views.count > 1 else {}),
        "aligner": tower.aligner.identity if tower.aligner else None,
        **({"part_aligner": tower.part_aligner.identity} if tower.part_aligner else {}),
        "conversation": version,
        "language_model": run_record.weights_identity(model_name),
        **({"encoder_code": tower.encoder.code_record} if tower.encoder.code_record else {}),
    }


def check_projector(path: Path, spec: str | None, model_name: str) -> None:
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
