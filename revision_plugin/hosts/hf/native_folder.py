"""The HF-native folder: what `AutoModelForImageTextToText` and `AutoProcessor` open without this package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from transformers import GenerationConfig

from ..._common.files import write_json
from ...encoders.image_side import ImageSide
from ...errors import RevisionError
from ..chat_template import chat_template_text
from ..checkpoint_parts import IMAGE_PLACE, CheckpointParts
from ..prompt_form import GLUES, CaptionPrompt
from . import modeling_revision as native
from .native_model import CLASS, IMAGE, MODULE, native_config, native_model, native_processor, native_tokenizer

SHARD = "5GB"
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
CONFIG, TEMPLATE = "config.json", "chat_template.jinja"
OWN_TEMPLATE = "language_model_template.jinja"
TRIAL = "what is there?"


def write_native(parts: CheckpointParts, folder: Path) -> ImageSide:
    """Write the checkpoint's HF-native form into `folder`; give back the image side that lies in it. Raises
    RevisionError for what that form cannot hold.
    """
    side = parts.encoder.image_side()
    tokenizer = native_tokenizer(parts)
    config = native_config(parts, side, tokenizer)
    model = native_model(parts, side, config)
    tied = ["lm_head.weight"] if config.tie_word_embeddings else None
    saved = _lossless(model, parts.dtype)
    model.generation_config = GenerationConfig(
        do_sample=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=list(dict.fromkeys(parts.ends)),
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=[config.image_token_id],
    )
    # by huggingface_hub: transformers would write the language model's weights by names that servers do not know
    save_torch_state_dict(saved, folder, max_shard_size=SHARD, shared_tensors_to_discard=tied)
    config.architectures = [CLASS]
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    shutil.copyfile(str(native.__file__), folder / f"{MODULE}.py")
    for file in side.code:
        shutil.copyfile(file, folder / file.name)
    template = _chat_template(parts, tokenizer)
    processor = native_processor(parts, side, tokenizer, template)
    processor.tokenizer.save_pretrained(folder)
    (folder / TEMPLATE).write_text(template)
    own = chat_template_text(parts.tokenizer)
    if own:  # which a training that goes on from here may ask for
        (folder / OWN_TEMPLATE).write_text(own)
    images = processor.image_processor.to_dict()
    write_json(
        folder / PREPROCESSOR,
        {**images, "auto_map": {"AutoImageProcessor": f"{MODULE}.RevisionImageProcessor"}},
    )
    write_json(
        folder / PROCESSOR,
        {
            "processor_class": "LlavaProcessor",
            "image_token": IMAGE,
            "patch_size": processor.patch_size,
            "num_additional_image_tokens": processor.num_additional_image_tokens,
            "vision_feature_select_strategy": processor.vision_feature_select_strategy,
        },
    )
    return side


def require_writable(parts: CheckpointParts) -> None:
    """Raise RevisionError where `write_native` could not write the checkpoint: before a training, not after it."""
    parts.encoder.image_side()
    _chat_template(parts, native_tokenizer(parts))


def _lossless(model: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The model's weights in `dtype`, but those that would change in it, which stay as they are."""

    def smallest(value: torch.Tensor) -> torch.Tensor:
        if not value.is_floating_point():
            return value
        small = value.to(dtype)
        return small if torch.equal(small.to(value.dtype), value) else value

    return {name: smallest(value) for name, value in model.state_dict().items()}


def _chat_template(parts: CheckpointParts, tokenizer: Any) -> str:
    """The chat template whose prompts the tokenizer cuts as the training did. Raises RevisionError where none does."""
    question = None if isinstance(parts.prompt, CaptionPrompt) else TRIAL
    trained = parts.prompt_ids(question)
    bos = parts.tokenizer.bos_token
    begins = bos is not None and trained[:1] == [parts.tokenizer.bos_token_id]
    image_id = tokenizer.convert_tokens_to_ids(IMAGE)
    wanted = [image_id if each == IMAGE_PLACE else each for each in trained]
    content: list[dict] = [{"type": "image"}]
    if question is not None:
        content.append({"type": "text", "text": question})
    for template in _candidates(parts, bos if begins else ""):
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], chat_template=template, tokenize=False, add_generation_prompt=True
        )
        if tokenizer(text, add_special_tokens=False).input_ids == wanted:
            return template
    raise RevisionError(f"{parts.name}: its tokenizer cuts the prompt with an image otherwise than the training did")


def _candidates(parts: CheckpointParts, bos: str) -> Iterator[str]:
    for glue, image_glue in product(parts.prompt.glues if bos else ("",), GLUES):
        yield parts.prompt.jinja(bos=bos, glue=glue, image_glue=image_glue)
