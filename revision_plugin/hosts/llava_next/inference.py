"""Asks a checkpoint trained in LLaVA-NeXT; loaded by its own classes, whose loader would need CUDA and a telling
name.
"""

from __future__ import annotations

import copy
import importlib
from pathlib import Path

import torch
from llava import conversation
from transformers import AutoTokenizer

from ..._common.files import read_object
from ...errors import RevisionError
from ..llava.host import require_base, require_same_base
from ..llava.inference import PLAIN, LlavaAssistant, decode_greedily, require_same_chat
from ..llava.tokenizers import prepare_tokenizer
from ..llava.weights import PROJECTOR_FILE, read_weights, require_weights
from ..weight_files import opening_checkpoint, quiet_loading, read_tensors

CLASSES = {
    "qwen2": ("llava_qwen", "LlavaQwenForCausalLM", "LlavaQwenConfig"),
    "llama": ("llava_llama", "LlavaLlamaForCausalLM", "LlavaConfig"),
}
CLASSES |= {"llava_qwen": CLASSES["qwen2"], "llava_llama": CLASSES["llama"]}


class NextAssistant(LlavaAssistant):
    """A loaded checkpoint of LLaVA-NeXT."""

    @classmethod
    def load(
        cls,
        model: str,
        *,
        base: str | None = None,
        device: str = "cpu",
        template: str | None = None,
        bits: int | None = None,
        device_map: str | None = None,
    ) -> NextAssistant:
        """Load a Stage-2 checkpoint, or a Stage-1 checkpoint over its language model `base`.

        Runs in float32 on a CPU, in float16 elsewhere. Raises RevisionError for any other folder, and
        for `bits` and `device_map`.
        """
        if bits is not None or device_map is not None:
            raise RevisionError("LLaVA-NeXT's checkpoints load whole, on one device; leave out the bits and device_map")
        path = Path(model)
        needs_base = require_base(path, base)
        raw = read_object(path / "config.json")
        if "revision" not in raw or (path / "adapter_config.json").is_file():
            raise RevisionError(
                f"{path}: only full checkpoints trained with --vision_tower revision load with LLaVA-NeXT"
            )
        model_class, config_class = _classes(path, raw.get("model_type"))
        weights = str(base) if needs_base else str(path)
        if needs_base:
            require_same_base(path, str(base))
        saved = read_weights(path, base if needs_base else None)
        with opening_checkpoint(str(path)), quiet_loading():
            loaded = model_class.from_pretrained(
                weights,
                config=config_class.from_pretrained(path),
                attn_implementation="sdpa",
                dtype=torch.float32 if device == "cpu" else torch.float16,
            ).to(device)
        if needs_base:
            loaded.load_state_dict(read_tensors(path / PROJECTOR_FILE), strict=False)
        require_weights(saved, loaded)
        tower = loaded.get_vision_tower()
        tower.load_model()
        tower.to(device=loaded.device, dtype=loaded.dtype)
        tokenizer = AutoTokenizer.from_pretrained(weights, use_fast=True)
        name = template or raw["revision"]["conversation"]
        require_same_chat(str(path), tokenizer, name, raw["revision"])
        prepare_tokenizer(tokenizer, begin=True, version=name)
        decode_greedily(loaded)
        if name == PLAIN and tokenizer.bos_token_id is None:
            raise RevisionError(
                f"{path}: is pretrained only, and its language model cannot begin a caption; finish Stage 2"
            )
        return cls(tokenizer, loaded.eval(), tower.image_processor, name)

    def conversation(self):
        template = copy.deepcopy(conversation.conv_templates[self.template_name])  # its own copy loses the tokenizer
        if hasattr(template, "tokenizer"):
            template.tokenizer = self.tokenizer
        return template

    def image_keywords(self, count: int) -> dict:
        return {"modalities": ["image"] * count}


def _classes(path: Path, kind: str | None):
    if kind not in CLASSES:
        raise RevisionError(f"{path}: a checkpoint of type '{kind}'; with LLaVA-NeXT there are {', '.join(CLASSES)}")
    module, model, config = CLASSES[kind]
    loaded = importlib.import_module(f"llava.model.language_model.{module}")
    return getattr(loaded, model), getattr(loaded, config)
