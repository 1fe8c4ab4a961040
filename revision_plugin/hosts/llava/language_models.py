"""LLaVA's class for a language model of any type: LLaVA 1.2.2 has its own for Llama and Mistral, and trains everything
as a Llama; for the other causal language models of transformers one is made of LLaVA's mixins and transformers' class.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from importlib.util import find_spec
from typing import Any

import torch
from llava.conversation import conv_templates
from llava.model.language_model.llava_mistral import LlavaMistralForCausalLM
from llava.model.llava_arch import LlavaMetaForCausalLM, LlavaMetaModel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ...errors import RevisionError
from ..input_check import check_inputs
from ..model_type import causal_classes, model_type
from ..tokenizers import AUTO
from .tokenizers import prepare_tokenizer

PREFIX = "llava_"
LLAMAS = ("llama", "llava_llama", "llava")
MISTRALS = ("mistral", "llava_mistral")
IMAGES = ("images", "image_sizes")


def by_model_type(llama: Any) -> type:
    """In place of LlavaLlamaForCausalLM: the class that fits the `model_type` of what is loaded."""

    class LlavaForCausalLM:
        @staticmethod
        def from_pretrained(name, *arguments, **keywords):
            kind = model_type(name)
            if kind in LLAMAS:
                return llama.from_pretrained(name, *arguments, **keywords)
            return class_for(kind).from_pretrained(name, *arguments, **keywords)

    return LlavaForCausalLM


def class_for(kind: str) -> Any:
    """LLaVA's class for a language model of type `kind`, other than a Llama; made where LLaVA has none.

    Raises RevisionError for a type that is no causal language model of transformers.
    """
    return LlavaMistralForCausalLM if kind in MISTRALS else _made(kind.removeprefix(PREFIX))


def with_registered_class(original: Any) -> Any:
    """LLaVA's `load_pretrained_model`, which knows the class of every checkpoint, and whose `auto` is then the chat
    template of the loaded one.
    """

    @functools.wraps(original)
    def load_pretrained_model(model_path, *arguments, **keywords):
        kind = model_type(str(model_path))
        if kind.startswith(PREFIX) and kind not in LLAMAS:
            class_for(kind)
        loaded = original(model_path, *arguments, **keywords)
        record = getattr(loaded[1].config, "revision", None)
        if isinstance(record, dict) and record.get("conversation") == AUTO:
            prepare_tokenizer(loaded[0], begin=True, version=AUTO)
            conv_templates[AUTO].bind(loaded[0])
        return loaded

    return load_pretrained_model


@functools.cache
def _made(kind: str) -> type:
    config_class, causal = causal_classes(kind)
    name = causal.__name__
    config = _subclass(f"Llava{config_class.__name__}", (config_class,), model_type=f"{PREFIX}{kind}")
    made = _subclass(f"Llava{name}", (_LlavaOfType, causal, LlavaMetaForCausalLM), config_class=config)
    # generate and the Trainer read what a model takes from its signature
    own = inspect.signature(causal.forward)
    images = [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, default=None) for each in IMAGES]
    parameters = sorted([*own.parameters.values(), *images], key=lambda parameter: parameter.kind)

    def forward(self, *arguments, **keywords):
        return _LlavaOfType.forward(self, *arguments, **keywords)

    forward.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    made.forward = forward  # type: ignore[attr-defined]
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModelForCausalLM.register(config, made, exist_ok=True)
    _register_conversions((name, kind), made.__name__)
    return made


def _subclass(name: str, bases: tuple[type, ...], **attributes: Any) -> Any:
    return type(name, bases, {"__module__": __name__, **attributes})


def _register_conversions(theirs: tuple[str, ...], ours: str) -> None:
    """Give the class `ours` the renaming of weights that transformers 5 has for its own class or type (mixtures of
    experts have one).
    """
    if find_spec("transformers.conversion_mapping") is None:
        return
    module = importlib.import_module("transformers.conversion_mapping")
    mapping = next(filter(None, map(module.get_checkpoint_conversion_mapping, theirs)), None)
    if mapping is not None:
        module.register_checkpoint_conversion_mapping(ours, mapping, overwrite=True)


class _Built:
    """Below LLaVA's mixin in a model that transformers' own constructor has already built: nothing is built twice."""

    def __init__(self, config: Any):
        pass


class _LlavaOfType:
    """What a made class adds to transformers' own: LLaVA's vision parts in the inner model, and images in `forward`
    and `generate`.

    The visual tokens enter the first layer as the projector gives them: where the inner model multiplies all that it is
    given, as Gemma 2 and Granite do, they are divided by that factor before.
    """

    # LLaVA's own classes take no number of tokens from the Trainer, so every type has the same mean of a batch
    accepts_loss_kwargs = False
    input_scale = 1.0

    def __init__(self, config: Any, *arguments: Any, **keywords: Any):
        super().__init__(config, *arguments, **keywords)  # type: ignore[call-arg]
        inner = self.get_model()
        own: Any = type(inner)
        inner.__class__ = _inner_class(own, _path_of(inner, inner.get_input_embeddings()))
        inner.__init__(config)

    @classmethod
    def from_pretrained(cls, name, *arguments, **keywords):
        loaded = super().from_pretrained(name, *arguments, **keywords)  # type: ignore[misc]
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        trained = model_type(str(name)).startswith(PREFIX)
        model.input_scale = check_inputs(model, model.get_model(), str(name), fully=not trained)
        return loaded

    def get_model(self):
        return next(child for child in self.children() if isinstance(child, PreTrainedModel))  # type: ignore[attr-defined]

    def encode_images(self, images):
        return super().encode_images(images) / self.input_scale  # type: ignore[misc]

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        labels=None,
        images=None,
        image_sizes=None,
        **keywords,
    ):
        if inputs_embeds is None:
            input_ids, position_ids, attention_mask, past_key_values, inputs_embeds, labels = (
                self.prepare_inputs_labels_for_multimodal(  # type: ignore[attr-defined]
                    input_ids, position_ids, attention_mask, past_key_values, labels, images, image_sizes
                )
            )
        given = dict(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            labels=labels,
        )
        # not every type takes every one of these
        given = {key: value for key, value in given.items() if value is not None}
        return super().forward(**given, **keywords)  # type: ignore[misc]

    @torch.no_grad()
    def generate(self, inputs=None, images=None, image_sizes=None, **keywords):
        """New tokens alone, as LLaVA's classes give them."""
        if "inputs_embeds" in keywords:
            raise RevisionError("generate takes token ids and images, no inputs_embeds")
        position_ids, mask = (keywords.pop(each, None) for each in ("position_ids", "attention_mask"))
        if images is None:
            embeddings = self.get_input_embeddings()(inputs)  # type: ignore[attr-defined]
        else:
            prepare = self.prepare_inputs_labels_for_multimodal  # type: ignore[attr-defined]
            _, position_ids, mask, _, embeddings, _ = prepare(
                inputs, position_ids, mask, None, None, images, image_sizes=image_sizes
            )
        if position_ids is not None:
            keywords["position_ids"] = position_ids
        return super().generate(inputs_embeds=embeddings, attention_mask=mask, **keywords)  # type: ignore[misc]


@functools.lru_cache
def _inner_class(own: Any, embeddings: str) -> Any:
    """The inner model's class with LLaVA's mixin, as LLaVA's own classes have it: that one builds the tower and the
    projector of a trained config. LLaVA calls the token embeddings of every type `embed_tokens`.
    """
    names = (
        {} if embeddings == "embed_tokens" else {"embed_tokens": property(lambda self: self.get_submodule(embeddings))}
    )
    return _subclass(f"Llava{own.__name__}", (LlavaMetaModel, _Built, own), **names)


def _path_of(model: torch.nn.Module, part: torch.nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is part)
