"""Shims for LLaVA 1.2.2's forward and for old generation configs."""

from __future__ import annotations

import functools
import inspect

from .base import Patch, require


def _forward_arguments() -> None:
    from llava.model.language_model.llava_llama import LlavaLlamaForCausalLM as Model

    original = require(Model, "forward", "llava.model.language_model.llava_llama.LlavaLlamaForCausalLM.forward")

    @functools.wraps(original)
    def forward(self, *args, cache_position=None, logits_to_keep=0, **kwargs):
        return original(self, *args, **kwargs)

    extra = [
        inspect.Parameter("cache_position", inspect.Parameter.KEYWORD_ONLY, default=None),
        inspect.Parameter("logits_to_keep", inspect.Parameter.KEYWORD_ONLY, default=0),
    ]
    signature = inspect.signature(original)
    forward.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *extra])
    Model.forward = forward


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


AFTER_LLAVA = [
    Patch(
        "llava.model.language_model.llava_llama.LlavaLlamaForCausalLM.forward",
        "transformers >= 4.38",
        "generate passes cache_position, which LLaVA's forward rejects",
        "haotian-liu/LLaVA#1218, haotian-liu/LLaVA#1448",
        _forward_arguments,
    ),
    Patch(
        "transformers.GenerationConfig.save_pretrained",
        "transformers >= 4.41",
        "Vicuna's generation config sets a temperature without do_sample, which saving now refuses",
        "haotian-liu/LLaVA#1144, haotian-liu/LLaVA#1635",
        _generation_config,
    ),
]
