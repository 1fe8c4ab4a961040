"""The host contract: what an MLLM training framework must offer so that the plugin can live in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..registry import Registry

HOSTS: Registry[type[Host]] = Registry("host")


@dataclass(frozen=True)
class Binding:
    """One upstream symbol the plugin rebinds, and why."""

    symbol: str
    reason: str


class Host(ABC):
    """A training framework. Nothing of it is imported before `install`."""

    name: ClassVar[str]
    distribution: ClassVar[str]

    @abstractmethod
    def version(self) -> str | None:
        """The installed version, or None where the host is not installed."""

    @abstractmethod
    def check(self) -> None:
        """Raise RevisionError unless the installed versions are ones this release supports."""

    @abstractmethod
    def bindings(self) -> list[Binding]:
        """Everything `install` rebinds, shims included."""

    @abstractmethod
    def install(self) -> None:
        """Rebind the host's hooks; idempotent. Raises RevisionError naming any symbol that has moved."""

    @abstractmethod
    def train(self, arguments: Sequence[str]) -> None:
        """Hand `arguments` (the host's flags and the plugin's) to the host's own training function."""

    @abstractmethod
    def load(self, model: str, *, base: str | None = None, device: str = "cpu", template: str | None = None):
        """A trained checkpoint, ready to answer (see `hosts.llava.inference.Assistant`)."""

    @abstractmethod
    def check_checkpoint(self, model: Path, base: str | None) -> None:
        """Raise RevisionError unless `load` could open the folder `model`, as far as its files tell."""
