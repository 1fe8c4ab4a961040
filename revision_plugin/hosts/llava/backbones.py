"""The model class that fits a language model: LLaVA 1.2.2 has one for Mistral, but trains everything as a Llama."""

from __future__ import annotations


def by_model_type(llama):
    """In place of LlavaLlamaForCausalLM: the Mistral class for a Mistral, by the `model_type` of what is loaded."""

    class LlavaForCausalLM:
        revision_original = llama

        @staticmethod
        def from_pretrained(name, *arguments, **keywords):
            from llava.model.language_model.llava_mistral import LlavaMistralForCausalLM
            from transformers import PretrainedConfig

            kind = PretrainedConfig.get_config_dict(name)[0].get("model_type", "")
            model = LlavaMistralForCausalLM if kind.endswith("mistral") else llama
            return model.from_pretrained(name, *arguments, **keywords)

    return LlavaForCausalLM
