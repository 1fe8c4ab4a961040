"""What every CLIP that is trained here shares: the model, its optimizer, the bound of its logit scale, its folder."""

from __future__ import annotations

import json
import math
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file


def new_clip(config: dict, *, logit_scale: float, output_dict: bool) -> open_clip.CLIP:
    """A CLIP of open_clip's model config with random weights, its inverse temperature at `logit_scale`."""
    text = {key: value for key, value in config["text_cfg"].items() if key != "hf_tokenizer_name"}
    return open_clip.CLIP(
        config["embed_dim"],
        config["vision_cfg"],
        text,
        init_logit_scale=math.log(logit_scale),
        output_dict=output_dict,
    )


def new_optimizer(model: torch.nn.Module, *, rate: float, weight_decay: float, epsilon: float) -> torch.optim.AdamW:
    """AdamW with CLIP's betas; weight decay for matrices alone."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    undecayed = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=epsilon)


@torch.no_grad()
def bound_logit_scale(model: open_clip.CLIP, highest: float) -> None:
    """Keep the learnt inverse temperature between 1 and `highest`, after a step."""
    model.logit_scale.clamp_(0, math.log(highest))


def half_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The model's state with its floating-point tensors in float16."""
    return {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}


def write_clip(folder: Path, state: dict, config: dict, preprocess: dict, tokenizer=None) -> None:
    """Write an open_clip folder, for `--encoder open_clip:FOLDER`, with a tokenizer of its own if it has one."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    weights = {key: value.cpu().contiguous() for key, value in state.items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
