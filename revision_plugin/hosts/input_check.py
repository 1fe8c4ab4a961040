"""What a language model makes of embeddings that it is given in place of tokens, asked of the loaded model itself."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import torch

from ..errors import RevisionError, first_line

LENGTH = 6  # tokens of the text on which a model is tried
TOLERANCE = 100  # steps of the model's precision, of the largest logit
CONSTANT = 1e-3  # relative spread of one factor over all dimensions


class _Seen(Exception):
    """Ends a forward pass at the first layer."""


def check_inputs(model: Any, inner: Any, name: str, *, fully: bool) -> float:
    """The factor by which `model`, which is `inner` and a head, multiplies the embeddings that it is given, 1 for most
    types.

    `fully` also raises RevisionError where it answers otherwise to the embeddings of tokens than to the tokens
    themselves (so it would to visual tokens), or where later tokens change what it says of earlier ones. Weights that
    are spread over processes (ZeRO-3) are not asked, since none of them has a whole layer.
    """
    outside = [p for n, p in inner.named_parameters() if not _in_layers(inner, n)]
    with torch.no_grad(), _evaluating(model), _gathered(outside):
        try:
            scale = input_scale(inner, device=model.device, dtype=model.dtype)
            if fully and not any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
                _require_same_answers(model, name)
        except (RuntimeError, ValueError, TypeError) as error:
            raise RevisionError(
                f"{name}: takes no embeddings in place of tokens, so no visual tokens ({first_line(error)[:160]})"
            ) from error
    return scale


def _require_same_answers(model: Any, name: str) -> None:
    rows = torch.arange(2 * LENGTH, device=model.device).reshape(2, LENGTH) % model.config.vocab_size
    rows[1, :-1] = rows[0, :-1]  # which then differ in their last token alone
    mask = torch.ones_like(rows)
    from_tokens = model(input_ids=rows, attention_mask=mask).logits.float()
    embeddings = model.get_input_embeddings()(rows)
    from_embeddings = model(inputs_embeds=embeddings, attention_mask=mask).logits.float()
    allowed = min(TOLERANCE * torch.finfo(model.dtype).eps, 0.02) * from_tokens.abs().max()
    if (from_tokens - from_embeddings).abs().max() > allowed:
        raise RevisionError(
            f"{name}: answers otherwise to the embeddings of tokens than to the tokens, so visual tokens would not "
            "reach it as they should; choose another language model"
        )
    if (from_tokens[0, :-1] - from_tokens[1, :-1]).abs().max() > allowed:
        raise RevisionError(
            f"{name}: later tokens change what it says of earlier ones, so it is no causal language model"
        )


def input_scale(inner: Any, *, device: torch.device, dtype: torch.dtype) -> float:
    """How much larger the embeddings are at the first layer than as given; 1 where that is no one factor. No weight of
    a layer is read.
    """
    width = inner.get_input_embeddings().weight.shape[-1]
    ends = (torch.full((1, 1, width), value, device=device, dtype=dtype) for value in (0.0, 1.0))
    at_zero, at_one = (_at_first_layer(inner, each) for each in ends)
    if at_zero is None or at_one is None or at_zero.shape != at_one.shape:
        return 1.0
    factors = (at_one - at_zero).float()
    scale = factors.mean()
    if not torch.isfinite(scale) or scale <= 0 or (factors - scale).abs().max() > CONSTANT * scale:
        return 1.0
    return float(scale)


def _at_first_layer(inner: Any, embeddings: torch.Tensor) -> torch.Tensor | None:
    seen: list[torch.Tensor] = []

    def look(module, arguments, keywords):
        seen.append(arguments[0] if arguments else keywords["hidden_states"])
        raise _Seen

    layers = _layers(inner)
    if layers is None:
        return None
    handle = layers[1][0].register_forward_pre_hook(look, with_kwargs=True)
    try:
        with contextlib.suppress(_Seen):
            inner(inputs_embeds=embeddings, use_cache=False)
    finally:
        handle.remove()
    return seen[0] if seen else None


def _layers(inner: torch.nn.Module) -> tuple[str, torch.nn.ModuleList] | None:
    """The list of a model's layers, by its name."""
    lists = ((name, module) for name, module in inner.named_modules() if isinstance(module, torch.nn.ModuleList))
    return next(((name, module) for name, module in lists if len(module)), None)


def _in_layers(inner: torch.nn.Module, name: str) -> bool:
    layers = _layers(inner)
    return layers is not None and name.startswith(f"{layers[0]}.")


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)


def _gathered(parameters: list) -> contextlib.AbstractContextManager:
    """Inside, `parameters` are whole in every process; where ZeRO-3 has not spread them, they are anyway."""
    spread = [parameter for parameter in parameters if hasattr(parameter, "ds_id")]
    if not spread:
        return contextlib.nullcontext()
    deepspeed = importlib.import_module("deepspeed")  # an extra; it is there where it has spread them

    return deepspeed.zero.GatheredParameters(spread)
