"""A model in the HF-native form taken apart (`CheckpointParts`)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image

from ...errors import RevisionError
from ..checkpoint_parts import IMAGE_PLACE, CheckpointParts, embeddings_name
from ..prompt_form import PromptForm
from .training_model import NativeModel


def native_parts(
    name: str,
    made: NativeModel,
    *,
    tokenizer: Any,
    prompt: PromptForm,
    prompt_ids: Callable[[str | None], list[int]],
    ends: list[int],
    square: bool,
    dtype: torch.dtype,
    record: dict,
    logits: Callable[[Image.Image, str | None], torch.Tensor] | None = None,
    pixels: Callable[[Image.Image], torch.Tensor] | None = None,
    ask: Callable[[Sequence[Image.Image], Sequence[str | None], int], list[str]] | None = None,
) -> CheckpointParts:
    """The parts of `made`; the row of the image's token is left out where it is the last, and made again."""
    inner = made.language_model
    embeddings = embeddings_name(inner)
    state = dict(inner.state_dict())
    head = copy.copy(made.model.lm_head)
    image_id, rows = made.model.config.image_token_index, state[embeddings].shape[0]
    if image_id == rows - 1:
        state[embeddings] = state[embeddings][:image_id]
        head._parameters = {
            part: None if value is None else torch.nn.Parameter(value.detach()[:image_id], requires_grad=False)
            for part, value in head._parameters.items()
        }
    return CheckpointParts(
        name=name,
        text_config=inner.config,
        text_state=state,
        embeddings=embeddings,
        head=head,
        projector=made.layers,
        input_scale=made.input_scale,
        encoder=made.tower.encoder,
        tokens=made.tower.num_patches,
        views=made.tower.views,
        square=square,
        tokenizer=tokenizer,
        prompt=prompt,
        ends=ends,
        dtype=dtype,
        prompt_ids=prompt_ids,
        logits=logits or _not_asked,
        pixels=pixels or _not_asked,
        ask=ask or _not_asked,
        record=record,
    )


def _not_asked(*_: Any) -> Any:
    raise RevisionError("a model that is being written answers nothing; open its folder")


def with_one_place(ids: list[int], image_id: int) -> list[int]:
    """Token ids in which each run of the image's tokens is one `IMAGE_PLACE`."""
    places: list[int] = []
    for each in ids:
        if each != image_id:
            places.append(each)
        elif not places or places[-1] != IMAGE_PLACE:
            places.append(IMAGE_PLACE)
    return places
