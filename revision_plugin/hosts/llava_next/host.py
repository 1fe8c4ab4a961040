"""LLaVA-NeXT (a checkout on the path), unmodified on disk. What it shares with LLaVA 1.2.2 is in `hosts.llava`."""

from __future__ import annotations

import contextlib
import importlib
import sys
import tomllib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ...errors import RevisionError
from ...tower import TOWER_NAME
from ..base import HOSTS, Assistant
from ..llava.host import LlavaHost
from ..llava.variant import is_next, package_folder
from ..model_type import model_type
from .next_hook_table import HOOKS

SUPPORTED_NEXT = "1.7."
# LLaVA-NeXT takes the first of these names that the model's path holds, and with it this model type
CLASS_OF_NAME = {
    "mixtral": "mixtral",
    "mistral": "mistral",
    "zephyr": "mistral",
    "wizardlm-2": "llama",
    "vicuna": "llama",
    "llama": "llama",
    "yi": "llama",
    "qwen": "qwen2",
}
TRAINED = ("llama", "qwen2")


@HOSTS.register("llava-next")
class LlavaNextHost(LlavaHost):
    name = "llava-next"
    distribution = "llava"
    hooks = HOOKS

    def version(self) -> str | None:
        if not is_next():
            return None
        folder = package_folder()
        project = folder.parent / "pyproject.toml" if folder else None
        if project and project.is_file():
            return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
        return version(self.distribution)

    def check(self) -> None:
        installed = self.version()
        if installed is None:
            raise RevisionError(
                "LLaVA-NeXT is not on the path; set PYTHONPATH to its checkout, or 'pip install --no-deps -e' it"
            )
        if not installed.startswith(SUPPORTED_NEXT):
            raise RevisionError(f"LLaVA-NeXT {installed} is not supported; this release binds to {SUPPORTED_NEXT}*")

    def check_flags(self, flags: dict[str, str]) -> None:
        if "--attn_implementation" not in flags and find_spec("flash_attn") is None:
            raise RevisionError(
                "LLaVA-NeXT trains with flash_attention_2 by default, which is not installed; give "
                "--attn_implementation sdpa"
            )
        if flags.get("--trainer_mode", "regular") != "regular":
            raise RevisionError(f"--trainer_mode {flags['--trainer_mode']} is not supported; leave it out")
        name = flags.get("--model_name_or_path")
        if name is not None and flags.get("--vision_tower") == TOWER_NAME:
            _check_class(name)

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
        with contextlib.redirect_stdout(sys.stderr):  # LLaVA-NeXT prints while it is imported
            self.install()
            inference = importlib.import_module(".inference", __package__)
            placed = {"bits": bits, "device_map": device_map}
            return inference.NextAssistant.load(model, base=base, device=device, template=template, **placed)


def _check_class(name: str) -> None:
    """Raise RevisionError where LLaVA-NeXT, which goes by the path, would take another class than the model's own."""
    kind = model_type(name)
    path_type = next((each for mark, each in CLASS_OF_NAME.items() if mark in name.lower()), None)
    if kind not in TRAINED:
        raise RevisionError(
            f"{name}: a language model of type '{kind}'; with LLaVA-NeXT there are {', '.join(TRAINED)}"
        )
    if path_type != kind:
        mark = "qwen" if kind == "qwen2" else kind
        other = f"takes it for '{path_type}'" if path_type else "knows no class for it"
        raise RevisionError(
            f"{Path(name)}: LLaVA-NeXT chooses the model's class by its path and {other}; give a path with '{mark}' "
            f"and none of {', '.join(m for m, each in CLASS_OF_NAME.items() if each != kind)}"
        )
