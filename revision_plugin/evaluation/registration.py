"""What lmms-eval's entry-point group `lmms_eval.models` loads: a failure here is only a warning there."""

from __future__ import annotations

from lmms_eval.models.registry_v2 import ModelManifest


def manifest() -> ModelManifest:
    """Where lmms-eval finds the model `llava_revision`; nothing else is imported for it. It takes the chat class unless
    it is given --force_simple, as `revision evaluate` does.
    """
    return ModelManifest(
        model_id="llava_revision",
        simple_class_path="revision_plugin.evaluation.model.LlavaRevision",
        chat_class_path="revision_plugin.evaluation.chat_model.LlavaRevisionChat",
    )
