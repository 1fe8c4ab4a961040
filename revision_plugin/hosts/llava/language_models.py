"""The model class that fits a language model: LLaVA 1.2.2 has one for Mistral, but trains everything as a Llama."""

from __future__ import annotations

from typing import Any

from llava.model.language_model.llava_mistral import LlavaMistralForCausalLM

from ..model_type import model_type


def by_model_type(llama: Any) -> type:
    """In place of LlavaLlamaForCausalLM: the Mistral class for a Mistral, by the `model_type` of what is loaded."""

    class LlavaForCausalLM:
        @staticmethod
        def from_pretrained(name, *arguments, **keywords):
            model = LlavaMistralForCausalLM if model_type(name).endswith("mistral") else llama
            return model.from_pretrained(name, *arguments, **keywords)

    return LlavaForCausalLM
