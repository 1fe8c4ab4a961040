"""Checkpoints in LLaVA's form around tiny models, without a training: made by its classes and hooks."""

from pathlib import Path

import revision_plugin


def checkpoint(
    folder: Path, llm: Path, spec: str, *, version: str, ratio: str = "square", projector: str = "mlp2x_gelu", **flags
):
    """The folder of a Stage-2 checkpoint over `llm` with a random projector, as LLaVA's training saves one."""
    revision_plugin.install()
    import torch
    from llava.train import train
    from transformers import AutoTokenizer

    torch.manual_seed(5)
    model = train.LlavaLlamaForCausalLM.from_pretrained(str(llm), torch_dtype=torch.float32)
    arguments = train.ModelArguments(
        model_name_or_path=str(llm),
        version=version,
        vision_tower="revision",
        mm_projector_type=projector,
        revision_encoder=spec,
        **flags,
    )
    model.get_model().initialize_vision_modules(model_args=arguments)
    for layer in model.get_model().mm_projector.parameters():
        torch.nn.init.normal_(layer, 0.0, 0.3)  # so that images matter
    model.config.image_aspect_ratio = ratio
    model.config.mm_use_im_start_end = model.config.mm_use_im_patch_token = False
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(llm).save_pretrained(folder)
    return folder
