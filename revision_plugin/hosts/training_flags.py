"""The plugin's flags in a host's argument dataclasses."""

from __future__ import annotations

import dataclasses
from typing import Any


def _flag(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


def model_arguments(original: type) -> type:
    """A host's ModelArguments with the tower's flags."""
    flags = [
        ("revision_encoder", str | None, _flag(None, "Encoder spec of the pseudo-vision tower.")),
        (
            "revision_aligner",
            str | None,
            _flag(None, "Fitted aligner (folder or hf:OWNER/NAME@COMMIT); text needs one."),
        ),
        ("revision_trust_remote_code", bool, _flag(False, "Run code that the encoder's model brings.")),
        ("revision_part_aligner", str | None, _flag(None, "Folder of an aligner fitted on parts, for views of texts.")),
        ("revision_views", str | None, _flag(None, "Views of an image: 1, or ROWSxCOLUMNS[:mask|crop][:OVERLAP].")),
        ("revision_tokens", int, _flag(1, "Visual tokens per view; the reference implementation copies to 576.")),
    ]
    return dataclasses.make_dataclass("ModelArguments", flags, bases=(original,))


def data_arguments(original: type) -> type:
    """A host's DataArguments with the stores that are joined to a JSON, how many texts are read as wholes, and what the
    training is probed with.
    """
    flags = [
        ("revision_store", str | None, _flag(None, "Text store joined by id to a LLaVA JSON's items without image.")),
        ("revision_whole_share", float, _flag(0.0, "Share of texts with views that are read as the whole alone.")),
        ("revision_image_store", str | None, _flag(None, "Image store joined by name to a LLaVA JSON's images.")),
        (
            "revision_probe",
            str | None,
            _flag(None, "Held-out LLaVA JSON; its loss given the real images is logged as probe_loss."),
        ),
        (
            "revision_probe_images",
            str | None,
            _flag(None, "Folder of the probe's images, or a store of them (default: --image_folder)."),
        ),
        ("revision_probe_steps", int, _flag(100, "Steps between two probes; there is one at start and end, too.")),
        ("revision_probe_rows", int, _flag(256, "Records of the probe that are used, evenly spread.")),
    ]
    return dataclasses.make_dataclass("DataArguments", flags, bases=(original,))
