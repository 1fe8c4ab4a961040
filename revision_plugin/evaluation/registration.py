"""What lmms-eval's entry-point group `lmms_eval.models` loads: a failure here is only a warning there."""

from __future__ import annotations

from lmms_eval.models.registry_v2 import ModelManifest


def manifest() -> ModelManifest:
    """Where lmms-eval finds the model `llava_revision`; nothing else is imported for it."""
    return ModelManifest(model_id="llava_revision", simple_class_path="revision_plugin.evaluation.model.LlavaRevision")
