"""Scoring trained checkpoints: the lmms-eval model, runs and tables."""


def manifest():
    """What lmms-eval's entry-point group `lmms_eval.models` loads. Imports nothing heavy: a failure there is only a warning."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="llava_revision", simple_class_path="revision_plugin.evaluation.model.LlavaRevision")
