"""An HF-native folder, opened with the package's own classes: the copy of its module that lies there never runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer
from transformers.image_processing_utils import ImageProcessingMixin

from ..._common.files import read_object, read_text
from ...encoders import Identity
from ...encoders.remote_code import READ_IT, is_remote_code_allowed
from ...errors import RevisionError, library_failures
from ...tower import PseudoVisionTower
from ..native_form import require_own_module
from ..tower_record import checked_record, views_of
from ..weight_files import number_type, quiet_loading, require_finite_tensors
from . import modeling_revision as native
from .folder_encoder import FolderEncoder
from .native_folder import CONFIG, OWN_TEMPLATE, PREPROCESSOR, TEMPLATE


@dataclass
class OpenedFolder:
    """What an HF-native folder holds: the model, its preprocessing, its tokenizer, and the record of its training."""

    path: Path
    model: Any
    image_processor: Any
    tokenizer: Any
    record: dict

    def tower(self) -> PseudoVisionTower:
        """The folder's tower as ours, which takes embeddings, too. Takes it out of the model."""
        identity = Identity.from_json(self.record["encoder"], str(self.path / CONFIG))
        encoder = FolderEncoder(self.model.model.vision_tower, self.image_processor, identity)
        encoder.code_record = self.record.get("encoder_code")
        views = views_of(self.record, str(self.path / CONFIG))
        tower = PseudoVisionTower(encoder, tokens=self.record["tokens"], views=views)
        tower.load_model()
        return tower


def folder_record(path: Path) -> dict:
    """What an HF-native folder says of its training. Raises RevisionError where it says nothing, or is not ours."""
    require_own_module(path)
    record = read_object(path / CONFIG).get("revision")
    if record is None:
        raise RevisionError(
            f"{path}: has no record of its training in {CONFIG}; write it again from its checkpoint with this release"
        )
    return checked_record(record, str(path / CONFIG))


def open_folder(path: Path, *, dtype: torch.dtype, **keywords: Any) -> OpenedFolder:
    """Open `path`. Raises RevisionError for a folder that is not whole, and one whose module or encoder is other code
    than this package's that nobody consented to.
    """
    record = folder_record(path)
    vision = read_object(path / CONFIG).get("vision_config", {})
    if vision.get("encoder_class") and not is_remote_code_allowed():
        raise RevisionError(f"{path}: its image encoder brings code of its own ({vision['encoder_class']}); {READ_IT}")
    with library_failures(f"{path}: does not load"), quiet_loading():
        opened: Any = native.LlavaForConditionalGeneration.from_pretrained(
            path, dtype=dtype, output_loading_info=True, **keywords
        )
        image_processor = native.RevisionImageProcessor.from_pretrained(path)
        tokenizer = AutoTokenizer.from_pretrained(path, padding_side="right")
    model, loading = opened
    _require_image_processor(path, image_processor)
    for kind, what in (("missing_keys", "lacks"), ("unexpected_keys", "has more than its config says:")):
        if loading[kind]:
            raise RevisionError(f"{path}: {what} the weights '{min(loading[kind])}'; get it again")
    require_finite_tensors(path, dict(model.named_parameters()))
    own = path / OWN_TEMPLATE
    tokenizer.chat_template = read_text(own) if own.is_file() else None
    return OpenedFolder(path, model, image_processor, tokenizer, record)


def _require_image_processor(path: Path, processor: Any) -> None:
    """Raise RevisionError unless the class of transformers that the folder names for its preprocessing is one for it:
    the name is data.
    """
    kind = processor.encoder_processor.get("image_processor_type")
    found = getattr(transformers, str(kind), None)
    if processor.library == native.TRANSFORMERS and not (
        isinstance(found, type) and issubclass(found, ImageProcessingMixin)
    ):
        raise RevisionError(f"{path / PREPROCESSOR}: '{kind}' is no image processor of transformers; it was edited")


def saved_dtype(path: Path) -> torch.dtype:
    """The number type that the folder's language model was saved in."""
    config = read_object(path / CONFIG)
    text = config.get("text_config")
    return number_type(text if isinstance(text, dict) else config)


def prompt_template(path: Path) -> str:
    """How the folder's checkpoint is asked: its chat template."""
    return read_text(path / TEMPLATE)
