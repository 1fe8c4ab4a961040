"""For LLaVA's models: loading in 4 and 8 bits, forward, and old generation configs."""

from __future__ import annotations

import copy
import functools
import inspect
import re
import warnings
from collections.abc import Callable

import torch
from transformers import PretrainedConfig

from ...errors import RevisionError

NEW_PARTS = ("mm_projector.", "vision_tower.", "vision_resampler.", "image_newline")  # a language model has none
BUFFERS = ("rotary_emb.inv_freq", "masked_bias", "attn.bias")
PASSED_BY_GENERATE = {"cache": None, "cache_position": None, "logits_to_keep": 0}
LAYER = re.compile(r"(^|\.)layers\.\d+\.")


def more_forward_arguments(original: Callable) -> Callable:
    """A LLaVA model's `forward` that takes what `generate` passes today: the cache by its new name, and, ignored, what
    the model works out by itself.
    """

    signature = inspect.signature(original)  # which generate reads
    lacking = {name: default for name, default in PASSED_BY_GENERATE.items() if name not in signature.parameters}

    @functools.wraps(original)
    def forward(self, *args, **kwargs):
        for name in lacking:
            value = kwargs.pop(name, None)
            if name == "cache" and value is not None:
                kwargs["past_key_values"] = value
        return original(self, *args, **kwargs)

    # LLaVA's own code goes on calling the cache by its old name
    for message in (".*past_key_values. is deprecated", "Both .past_key_values. and .cache. are set"):
        warnings.filterwarnings("ignore", message, FutureWarning, "llava")
    extra = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=lacking[name]) for name in lacking]
    forward.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *extra])  # type: ignore[attr-defined]
    return forward


def require_all_loaded(name, loading: dict) -> None:
    """Raise RevisionError where transformers made weights of a LLaVA's language model up, or left some in their files:
    it only warns, and warns of healthy models as well, whose projector is new.
    """
    missing = sorted(key for key in loading["missing_keys"] if not any(part in key for part in NEW_PARTS))
    beyond = [key for key in loading["unexpected_keys"] if not any(part in key for part in NEW_PARTS)]
    unused = sorted(key for key in beyond if LAYER.search(key) and not key.endswith(BUFFERS))
    mismatched = sorted(str(key[0]) for key in loading["mismatched_keys"])
    for keys, what in ((missing, "lacks"), (unused, "has more than its config says:"), (mismatched, "misshapes")):
        if keys:
            raise RevisionError(f"{name}: {what} the weights '{keys[0]}' ({len(keys)} in all); get it again")


def _settings(name) -> dict:
    """What the config of a folder or hub name says."""
    return PretrainedConfig.get_config_dict(name)[0]


def quantized_and_default_dtype(original: Callable) -> classmethod:
    """`PreTrainedModel.from_pretrained` that takes what the LLaVAs pass: bits beside a config, and no dtype.

    A LLaVA whose language model is not wholly in its files is refused. The head of a model with tied embeddings stays
    as it is. Weights that were saved whole load whole, also where adapters trained on 4 bits left their config.
    """
    load = original.__func__  # type: ignore[attr-defined]

    @functools.wraps(load)
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):  # which callers may name
        config = kwargs.get("config")
        if "torch_dtype" in kwargs and kwargs["torch_dtype"] is None:
            kwargs["torch_dtype"] = torch.get_default_dtype()
        quantization = kwargs.get("quantization_config")
        if quantization is not None:
            settings = config.to_dict() if config is not None else _settings(pretrained_model_name_or_path)
            if settings.get("tie_word_embeddings"):  # the head is the embedding, which no file holds in bits
                skipped = quantization.llm_int8_skip_modules or []
                quantization.llm_int8_skip_modules = sorted({*skipped, "lm_head"})
            for flag in ("load_in_4bit", "load_in_8bit"):
                kwargs.pop(flag, None)
        elif config is not None and getattr(config, "quantization_config", None) is not None:
            if _settings(pretrained_model_name_or_path).get("quantization_config") is None:
                kwargs["config"] = config = copy.deepcopy(config)
                del config.quantization_config
        if kwargs.get("output_loading_info") or not hasattr(cls, "get_vision_tower"):
            return load(cls, pretrained_model_name_or_path, *args, **kwargs)
        model, loading = load(cls, pretrained_model_name_or_path, *args, **kwargs, output_loading_info=True)
        require_all_loaded(pretrained_model_name_or_path, loading)
        return model

    return classmethod(from_pretrained)


def sampling_says_so(original: Callable) -> Callable:
    """`GenerationConfig.save_pretrained` for configs that set a temperature without do_sample, as Vicuna's."""

    @functools.wraps(original)
    def save_pretrained(self, *args, **kwargs):
        neutral = {"temperature": 1.0, "top_p": 1.0, "top_k": 50}
        sampling = any(getattr(self, name, None) not in (None, value) for name, value in neutral.items())
        if sampling and not self.do_sample:
            self.do_sample = True
        return original(self, *args, **kwargs)

    return save_pretrained
