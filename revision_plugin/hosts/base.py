"""The host contract: what an MLLM training framework must offer so that the plugin can live in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from PIL import Image
from transformers.generation import BaseStreamer

from ..registry import Registry
from .checkpoint_parts import CheckpointParts
from .hooks import HookTable

HOSTS: Registry[type[Host]] = Registry("host")


class Assistant(Protocol):
    """A loaded checkpoint that answers questions about images."""

    model: Any  # a torch module with `device` and `dtype`
    tokenizer: Any
    image_processor: Any
    template_name: str

    @property
    def tower(self) -> Any:
        """The vision tower."""

    def ask(
        self,
        images: Sequence[Image.Image] | None,
        questions: Sequence[str | None],
        *,
        max_new_tokens: int = 64,
        streamer: BaseStreamer | None = None,
    ) -> list[str]:
        """Greedy answers to `questions`, one about each RGB image, or without images.

        A pretrained-only checkpoint takes None for each question and answers with a caption. A `streamer` is given the
        tokens of a single question as they are made.
        """

    def parts(self, model: str, base: str | None) -> CheckpointParts:
        """The checkpoint, which was loaded from `model` over `base`, taken apart. Raises RevisionError for what no
        other form holds.
        """

    def likelihood(self, inputs: torch.Tensor, texts: Sequence[str]) -> np.ndarray:
        """Negative log-likelihood per token [N] of captions given pixels [N, 3, H, W] or text embeddings [N, D]."""


class Host(ABC):
    """A training framework. Nothing of it is imported before `install`.

    A host registers with `HOSTS.register(NAME)`, or by an entry point of the group `revision_plugin.hosts`.
    """

    name: ClassVar[str]
    hooks: ClassVar[HookTable]  # everything that `install` rebinds
    by_name_alone: ClassVar[bool] = False  # whether `find_host` passes it over unless it is named

    @abstractmethod
    def version(self) -> str | None:
        """The installed version, or None where the host is not the one installed."""

    @abstractmethod
    def check(self) -> None:
        """Raise RevisionError unless the installed versions are ones this release supports."""

    @abstractmethod
    def install(self) -> None:
        """Rebind the host's hooks; idempotent. Raises RevisionError naming any symbol that has moved."""

    def import_host(self) -> None:  # noqa: B027  (a host that needs no help to be imported)
        """Import what the hooks bind, once the first ones are applied. Raises RevisionError where that fails."""

    @abstractmethod
    def train(self, arguments: Sequence[str]) -> None:
        """Hand `arguments` (the host's flags and the plugin's) to the host's own training function."""

    @abstractmethod
    def load(
        self,
        model: str,
        *,
        base: str | None = None,
        device: str = "cpu",
        template: str | None = None,
        bits: int | None = None,
        device_map: str | None = None,
    ) -> Assistant:
        """A trained checkpoint, ready to answer; its language model in `bits` (4 or 8), or shared by all GPUs where
        `device_map` is "auto".
        """

    @abstractmethod
    def check_checkpoint(self, model: Path, base: str | None) -> None:
        """Raise RevisionError unless `load` could open the folder `model`, as far as its files tell."""

    def opens(self, model: Path) -> bool:
        """Whether the folder `model` is a checkpoint that this host alone opens, whatever else is installed."""
        return False
