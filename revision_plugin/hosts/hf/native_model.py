"""A checkpoint's parts as transformers' own LLaVA: config, model and processor."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import AddedToken, LlavaProcessor, PretrainedConfig

from ..._common.files import without_folders
from ...corpora.texts import IMAGE_MARK as IMAGE
from ...encoders.image_side import ImageSide
from ...errors import RevisionError
from ..checkpoint_parts import CheckpointParts
from ..text_beginning import begin_with
from . import modeling_revision as native

MODULE, CLASS = "modeling_revision", "LlavaForConditionalGeneration"
SERVED_AS = ("ImageTextToText", "MultimodalLM", "Vision2Seq")
TIED_TO = "embed_tokens.weight"
GELU, NONE = "gelu", "linear"  # transformers' names of what stands between the projector's layers


def native_tokenizer(parts: CheckpointParts) -> Any:
    """The tokenizer with a token for the image and without a first token, which the chat template writes; answers end
    with its EOS.
    """
    tokenizer = with_image_token(parts.tokenizer)
    begin_with(tokenizer, None)
    end = tokenizer.convert_ids_to_tokens(parts.ends[-1])
    if end in tokenizer.all_special_tokens:
        tokenizer.eos_token = end
    tokenizer.padding_side = "left"  # generation continues from the right end
    # of transformers 4 some give more than models take; what was given when a tokenizer was made is what is saved
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = ["input_ids", "attention_mask"]
    return tokenizer


def with_image_token(tokenizer: Any) -> Any:
    """A copy of `tokenizer` that has a token for the image."""
    tokenizer = copy.deepcopy(tokenizer)
    if tokenizer.convert_tokens_to_ids(IMAGE) in (None, tokenizer.unk_token_id):
        tokenizer.add_tokens([AddedToken(IMAGE, special=True, normalized=False)], special_tokens=True)
    return tokenizer


def native_config(parts: CheckpointParts, side: ImageSide, tokenizer: Any) -> Any:
    """The config of the whole model, its language model's vocabulary grown by the image's token where it has no row to
    spare.
    """
    native.register()
    text = copy.deepcopy(parts.text_config)
    image_id = tokenizer.convert_tokens_to_ids(IMAGE)
    rows = parts.text_state[parts.embeddings].shape[0]
    text.vocab_size = max(rows, image_id + 1)
    text.dtype = parts.dtype  # said: otherwise the language model is built in what its config says
    # LLaVA ties its head to embeddings of this name; for others the head is a copy
    text.tie_word_embeddings = bool(text.tie_word_embeddings) and parts.embeddings == TIED_TO
    head = head_extras(parts.head, text)
    make_vision: Any = native.RevisionVisionConfig  # whose type checkers know the fields of one release alone
    make: Any = native.RevisionConfig
    vision = make_vision(
        library=side.library,
        encoder=side.config,
        encoder_class=side.encoder_class,
        left_out=list(side.left_out),
        hidden_size=parts.encoder.dim,
        tokens=parts.tokens,
        views=parts.views.count,
        own_head=head is not None,
        image_size=parts.encoder.image_processor.crop_size["height"],
    )
    return make(
        vision_config=vision,
        text_config=text,
        image_token_index=image_id,
        image_seq_length=parts.visual_tokens,
        projector_hidden_act=GELU if len(parts.projector) == 2 else NONE,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        multimodal_projector_bias=True,
        tie_word_embeddings=text.tie_word_embeddings,
        head=head,
        **({"revision": _shareable(parts.record)} if parts.record else {}),
        auto_map={
            "AutoConfig": f"{MODULE}.RevisionConfig",
            "AutoModel": f"{MODULE}.RevisionModel",
            **{f"AutoModelFor{name}": f"{MODULE}.{CLASS}" for name in SERVED_AS},
        },
        dtype=parts.dtype,
    )


def _shareable(record: dict) -> dict:
    """A training's record whose encoder, which lies in the folder, is named without the place where it lay before."""
    encoder = record.get("encoder")
    if not isinstance(encoder, dict):
        return record
    return {**record, "encoder": {**encoder, "spec": without_folders(str(encoder["spec"]))}}


def head_extras(head: torch.nn.Module, text: PretrainedConfig) -> dict | None:
    """What the language model's last layer has beside its weights; None where it has nothing."""
    found = {
        "bias": getattr(head, "bias", None) is not None,
        "factor": getattr(text, "logit_scale", None) or 1.0,
        "divisor": getattr(text, "logits_scaling", None) or 1.0,
        "bound": getattr(text, "final_logit_softcapping", None),
    }
    return found if found != {"bias": False, "factor": 1.0, "divisor": 1.0, "bound": None} else None


def native_model(parts: CheckpointParts, side: ImageSide, config: Any) -> Any:
    """The model, with the weights of the checkpoint; nothing is copied that need not be.

    Raises RevisionError where the weights are not those of transformers' class for the language model.
    """
    config = copy.deepcopy(config)
    config.vision_config.folder = str(side.code[0].parent) if side.code else None
    with torch.device("meta"):
        model = native.LlavaForConditionalGeneration(config)
    rows, spare = config.text_config.vocab_size, _never_said(parts)
    state = {f"model.language_model.{name}": value for name, value in parts.text_state.items()}
    name = f"model.language_model.{parts.embeddings}"
    state[name] = _grown(state[name], rows, spare)
    head: Any = parts.head
    state["lm_head.weight"] = state[name] if config.tie_word_embeddings else _grown(head.weight, rows, spare)
    if getattr(head, "bias", None) is not None:
        state["lm_head.bias"] = _grown(head.bias, rows, spare)
    state |= _projector_state(parts)
    images = dict(side.module.named_parameters()) | dict(side.module.named_buffers())
    prefix = "model.vision_tower.encoder."
    own = [key for key in model.state_dict() if key.startswith(prefix)]
    lost = [key for key in own if key.removeprefix(prefix) not in images]
    if not lost:
        state |= {key: images[key.removeprefix(prefix)] for key in own}
    missing, unexpected = model.load_state_dict({k: v.detach() for k, v in state.items()}, strict=False, assign=True)
    problems = lost or unexpected or missing
    if problems:
        raise RevisionError(
            f"{parts.name}: its weights are not those of transformers' classes for it (first '{problems[0]}'); it "
            "cannot be exported"
        )
    if config.tie_word_embeddings:
        model.tie_weights()
    for module in model.modules():  # what transformers computes when a model is made
        for buffer, value in module.named_buffers(recurse=False):
            if value.is_meta and buffer not in module._non_persistent_buffers_set:
                raise RevisionError(f"{parts.name}: the exported form lacks a value for '{buffer}'")
    return model.eval()


def _never_said(parts: CheckpointParts) -> int:
    """The row that the image's token gets in the embeddings and the head: that of a token which answers do not hold, so
    that its logit is never above the largest, and of equal ones the first is taken.
    """
    for name in ("pad_token_id", "unk_token_id", "bos_token_id"):
        token = getattr(parts.tokenizer, name)
        if token is not None and token not in parts.ends:
            return int(token)
    return 0


def _grown(rows: torch.Tensor, count: int, like: int) -> torch.Tensor:
    """`rows` with the row `like` again behind them, up to `count`."""
    missing = count - rows.shape[0]
    return rows if missing <= 0 else torch.cat([rows, rows[like : like + 1].expand(missing, *rows.shape[1:])])


def _projector_state(parts: CheckpointParts) -> dict[str, torch.Tensor]:
    """The projector's two layers; a single one is followed by one that changes nothing."""
    layers: list[tuple] = [(layer.weight, layer.bias) for layer in parts.projector]
    if len(layers) == 1:
        width = layers[0][0].shape[0]
        identity = torch.eye(width).to(layers[0][0])
        layers.append((identity, torch.zeros(width).to(identity)))
    last = tuple(each / parts.input_scale for each in layers[-1])
    named = {"linear_1": layers[0], "linear_2": last}
    return {
        f"model.multi_modal_projector.{name}.{kind}": value
        for name, pair in named.items()
        for kind, value in zip(("weight", "bias"), pair)
    }


def native_processor(parts: CheckpointParts, side: ImageSide, tokenizer: Any, chat_template: str) -> LlavaProcessor:
    """transformers' LLaVA processor with the encoder's preprocessing; an image is as many tokens as the model makes."""
    images, views = parts.encoder.image_processor, parts.views
    size = images.crop_size
    # LLaVA's processor counts patches: of this size there is one in an image, or none where it is no square
    patch = max(size.values())
    return LlavaProcessor(
        image_processor=native.RevisionImageProcessor(
            library=side.library,
            encoder_processor=side.processor,
            crop_size=size,
            image_mean=images.image_mean,
            image_std=images.image_std,
            rows=views.rows,
            columns=views.columns,
            part=views.part,
            overlap=views.overlap,
            square=parts.square,
        ),
        tokenizer=tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="full",
        chat_template=chat_template,
        image_token=IMAGE,
        num_additional_image_tokens=parts.visual_tokens - (size["height"] == size["width"]),
    )
