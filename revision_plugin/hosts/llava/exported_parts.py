"""A loaded LLaVA checkpoint taken apart (`checkpoint_parts`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from llava import conversation
from llava.constants import IMAGE_TOKEN_INDEX
from llava.mm_utils import process_images, tokenizer_image_token
from torch import nn

from ..._common.files import read_object
from ...errors import RevisionError
from ...tower import PseudoVisionTower
from ..chat_template import chat_template
from ..checkpoint_parts import LINEAR, MLP, CheckpointParts, embeddings_name
from ..prompt_form import CaptionPrompt, OwnPrompt, PromptForm, named_prompt
from ..tokenizers import AUTO
from ..training_stores import WHOLE_IMAGES
from ..weight_files import number_type

VISION_PARTS = ("vision_tower", "mm_projector", "vision_resampler", "image_newline")


def checkpoint_parts(assistant: Any, model: str, base: str | None) -> CheckpointParts:
    """The parts of the loaded checkpoint `model`. Raises RevisionError for what the HF-native form cannot hold: another
    tower than the plugin's, projectors of other kinds, tiles of images.
    """
    loaded, tower = assistant.model, assistant.tower
    if not isinstance(tower, PseudoVisionTower):
        raise RevisionError(f"{model}: has another vision tower than the plugin's; those have exporters of their own")
    ratio = getattr(loaded.config, "image_aspect_ratio", None)
    if ratio not in WHOLE_IMAGES:
        raise RevisionError(f"{model}: was trained with --image_aspect_ratio {ratio}, which the exported form has not")
    inner = loaded.get_model()
    state = inner.state_dict()
    state = {name: value for name, value in state.items() if name.partition(".")[0] not in VISION_PARTS}
    return CheckpointParts(
        name=model,
        text_config=_text_config(loaded.config),
        text_state=state,
        embeddings=embeddings_name(inner),
        head=loaded.get_output_embeddings(),
        projector=_layers(inner.mm_projector, str(getattr(loaded.config, "mm_projector_type", LINEAR)), model),
        input_scale=getattr(loaded, "input_scale", 1.0),
        encoder=tower.encoder,
        tokens=tower.num_patches,
        views=tower.views,
        square=ratio == "pad",
        tokenizer=assistant.tokenizer,
        prompt=_prompt_form(assistant),
        ends=assistant.end_ids(),
        dtype=_saved_dtype(Path(model), base),
        prompt_ids=lambda question: _prompt_ids(assistant, question),
        logits=lambda image, question: _logits(assistant, image, question),
        pixels=lambda image: process_images([image], assistant.image_processor, loaded.config)[0],
        ask=lambda images, questions, most: assistant.ask(images, questions, max_new_tokens=most),
        record=dict(loaded.config.revision),
    )


def _text_config(config: Any) -> Any:
    """The language model's own config, out of LLaVA's, whose class is made of transformers' own."""
    made: Any = next(each for each in type(config).__mro__ if each.__module__.startswith("transformers."))
    own = made().to_dict().keys() - {"model_type", "architectures", "transformers_version", "dtype", "_name_or_path"}
    return made.from_dict({name: value for name, value in config.to_dict().items() if name in own})


def _layers(projector: Any, kind: str, model: str) -> list[nn.Linear]:
    layers = [part for part in projector.modules() if isinstance(part, nn.Linear)]
    if kind not in (LINEAR, MLP) or len(layers) != (1 if kind == LINEAR else 2):
        raise RevisionError(f"{model}: has a projector of type '{kind}'; transformers' LLaVA holds {LINEAR} and {MLP}")
    return layers


def _prompt_form(assistant: Any) -> PromptForm:
    if assistant.template_name == AUTO:
        return OwnPrompt(chat_template(assistant.tokenizer))
    template = assistant.conversation()
    if template.sep_style == conversation.SeparatorStyle.PLAIN:
        return CaptionPrompt(template.sep)
    return named_prompt(template)


def _saved_dtype(model: Path, base: str | None) -> torch.dtype:
    """The number type that the checkpoint's language model was saved in."""
    folder = Path(base) if base is not None else model
    config = read_object(folder / "config.json") if (folder / "config.json").is_file() else {}
    return number_type(config)


def _prompt_ids(assistant: Any, question: str | None) -> list[int]:
    prompt, _ = assistant.prompt(question)
    return tokenizer_image_token(prompt, assistant.tokenizer, IMAGE_TOKEN_INDEX)


def _logits(assistant: Any, image: Any, question: str | None) -> torch.Tensor:
    model, pixels = assistant.model, assistant.pixels([image])
    ids = torch.tensor([_prompt_ids(assistant, question)], device=model.device)
    with torch.inference_mode():
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), images=pixels, **assistant.image_keywords(1))
    return output.logits[0].float().cpu()
