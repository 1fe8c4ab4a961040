"""What trainings of any host rebind in the libraries below them."""

from __future__ import annotations

from .hooks import Hook

SHIMS = "revision_plugin.hosts.shims"

PROCESSES = (
    Hook(
        "accelerate.state.PartialState.__init__",
        "under DeepSpeed without CUDA accelerate finds no backend and believes in a single process",
        f"{SHIMS}.accelerate_backend:gloo_without_cuda",
        "accelerate 1.x",
        "none known; deepspeedai/DeepSpeed#943 is related",
        takes=("cpu",),
    ),
    Hook(
        "accelerate.state.PartialState.set_device",
        "several CPU processes get the devices cpu:0, cpu:1, ..., to which torch.load cannot map a resumed optimizer",
        f"{SHIMS}.accelerate_backend:one_cpu_device",
        "accelerate 1.x",
    ),
    Hook(
        "accelerate.data_loader.DataLoaderShard.set_epoch",
        "in several processes a resumed epoch's skipping hides the sampler, so another order than before is drawn",
        f"{SHIMS}.accelerate_backend:epoch_for_hidden_samplers",
        "transformers >= 5",
        takes=("epoch",),
    ),
)
CONSENT = Hook(
    "transformers.dynamic_module_utils.resolve_trust_remote_code",
    "code that comes with a model runs by --trust-remote-code alone: LLaVA trusts every name with 'mpt' in it, and "
    "transformers asks on standard input",
    f"{SHIMS}.transformers_code:by_consent_alone",
    also=(
        "transformers.generation.utils.resolve_trust_remote_code",
        *(
            f"transformers.models.auto.{module}.resolve_trust_remote_code"
            for module in (
                "auto_factory",
                "configuration_auto",
                "feature_extraction_auto",
                "image_processing_auto",
                "processing_auto",
                "tokenization_auto",
                "video_processing_auto",
            )
        ),
    ),
    takes=("trust_remote_code", "model_name", "has_local_code", "has_remote_code"),
)
PARTIAL = Hook(
    "transformers.trainer.deepspeed_load_checkpoint",
    "takes checkpoints without frozen parameters",
    f"{SHIMS}.partial_checkpoints:partial_loader",
    takes=("checkpoint_path", "load_module_strict"),
)
