"""What lmms-eval's entry-point group `lmms_eval.models` loads: a failure here is only a warning there."""

from __future__ import annotations

from lmms_eval.models.registry_v2 import ModelManifest

from ..hosts.hf import modeling_revision


def manifest() -> ModelManifest:
    """Where lmms-eval finds the model `llava_revision`. It takes the chat class unless it is given --force_simple, as
    `revision evaluate` does.

    lmms-eval's own `llava_hf` asks transformers for an exported model's config without its code, so its vision tower
    is made known here.
    """
    modeling_revision.register()
    return ModelManifest(
        model_id="llava_revision",
        simple_class_path="revision_plugin.evaluation.model.LlavaRevision",
        chat_class_path="revision_plugin.evaluation.chat_model.LlavaRevisionChat",
    )
