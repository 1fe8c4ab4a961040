"""An encoder's image side as other software builds it: the library, the config, the modules and the preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn


@dataclass(frozen=True)
class ImageSide:
    """What is written of an encoder into a model that opens without this package.

    `library` builds `module` from `config`; the parts of it that images never reach are named by `left_out`.
    `processor` is the library's own form of the preprocessing. An encoder that brings its own code has its class as
    `module.Class` and the files that it lies in.
    """

    library: str
    config: dict
    module: nn.Module
    processor: dict
    left_out: list[str] = field(default_factory=list)
    encoder_class: str | None = None
    code: list[Path] = field(default_factory=list)


@torch.no_grad()
def unused_by_images(model: nn.Module, features: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor) -> list:
    """The direct submodules of `model` that do not run when `features` encodes `pixels`: the text side."""
    seen: set[str] = set()

    def note(name: str) -> Callable:
        return lambda *_: seen.add(name)

    handles = [
        part.register_forward_pre_hook(note(name))
        for name, child in model.named_children()
        for part in child.modules()  # some models call a part of a submodule alone
    ]
    try:
        features(pixels)
    finally:
        for handle in handles:
            handle.remove()
    return [name for name, _ in model.named_children() if name not in seen]
