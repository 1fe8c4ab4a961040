"""Shims for LLaVA 1.2.2's models: loading in 4 and 8 bits, forward, and old generation configs."""

from __future__ import annotations

import copy
import functools
import inspect

from .base import Patch, require


def _forward_arguments() -> None:
    from llava.model.language_model.llava_llama import LlavaLlamaForCausalLM
    from llava.model.language_model.llava_mistral import LlavaMistralForCausalLM

    for model in (LlavaLlamaForCausalLM, LlavaMistralForCausalLM):
        _take_more_arguments(model)


def _take_more_arguments(model) -> None:
    original = require(model, "forward", f"{model.__module__}.{model.__name__}.forward")

    @functools.wraps(original)
    def forward(self, *args, cache_position=None, logits_to_keep=0, **kwargs):
        return original(self, *args, **kwargs)

    extra = [
        inspect.Parameter("cache_position", inspect.Parameter.KEYWORD_ONLY, default=None),
        inspect.Parameter("logits_to_keep", inspect.Parameter.KEYWORD_ONLY, default=0),
    ]
    signature = inspect.signature(original)
    forward.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *extra])
    model.forward = forward


def _quantized_loading() -> None:
    from transformers import PretrainedConfig, PreTrainedModel

    original = require(PreTrainedModel, "from_pretrained", "transformers.PreTrainedModel.from_pretrained").__func__

    @functools.wraps(original)
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):  # which callers may name
        config = kwargs.get("config")
        if kwargs.get("quantization_config") is not None:
            for flag in ("load_in_4bit", "load_in_8bit"):
                kwargs.pop(flag, None)
        elif getattr(config, "quantization_config", None) is not None:
            if PretrainedConfig.get_config_dict(pretrained_model_name_or_path)[0].get("quantization_config") is None:
                kwargs["config"] = config = copy.deepcopy(config)
                del config.quantization_config  # of adapters trained on 4 bits; these weights are whole
        return original(cls, pretrained_model_name_or_path, *args, **kwargs)

    PreTrainedModel.from_pretrained = classmethod(from_pretrained)


def _default_dtype() -> None:
    import torch
    from transformers import PreTrainedModel

    original = require(PreTrainedModel, "from_pretrained", "transformers.PreTrainedModel.from_pretrained").__func__

    @functools.wraps(original)
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        if "torch_dtype" in kwargs and kwargs["torch_dtype"] is None:
            kwargs["torch_dtype"] = torch.get_default_dtype()
        return original(cls, pretrained_model_name_or_path, *args, **kwargs)

    PreTrainedModel.from_pretrained = classmethod(from_pretrained)


def _generation_config() -> None:
    from transformers import GenerationConfig

    original = require(GenerationConfig, "save_pretrained", "transformers.GenerationConfig.save_pretrained")

    @functools.wraps(original)
    def save_pretrained(self, *args, **kwargs):
        neutral = {"temperature": 1.0, "top_p": 1.0, "top_k": 50}
        sampling = any(getattr(self, name, None) not in (None, value) for name, value in neutral.items())
        if sampling and not self.do_sample:
            self.do_sample = True
        return original(self, *args, **kwargs)

    GenerationConfig.save_pretrained = save_pretrained


BOTH_LLAVAS = [
    Patch(
        "transformers.PreTrainedModel.from_pretrained",
        "transformers >= 4.40",
        "--bits 4 passes load_in_4bit beside a quantization_config, which is refused, and its adapters could not be merged",
        "hiyouga/LlamaFactory#4157 (the same symptom)",
        _quantized_loading,
    ),
    Patch(
        "transformers.PreTrainedModel.from_pretrained",
        "transformers >= 5",
        "training without --bf16 passes torch_dtype=None, which now means the dtype of the files instead of float32",
        "none known",
        _default_dtype,
    ),
    Patch(
        "transformers.GenerationConfig.save_pretrained",
        "transformers >= 4.41",
        "Vicuna's generation config sets a temperature without do_sample, which saving now refuses",
        "haotian-liu/LLaVA#1144, haotian-liu/LLaVA#1635",
        _generation_config,
    ),
]
AFTER_LLAVA = [
    Patch(
        "llava.model.language_model.llava_llama.LlavaLlamaForCausalLM.forward",
        "transformers >= 4.38",
        "generate passes cache_position, which LLaVA's forward, of Llama and of Mistral, rejects",
        "haotian-liu/LLaVA#1218, haotian-liu/LLaVA#1448",
        _forward_arguments,
    ),
    *BOTH_LLAVAS,
]
