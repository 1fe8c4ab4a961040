"""LLaVA 1.2.2 (the PyPI package or a checkout), unmodified on disk.

The rooms' door to LLaVA: it can be imported only once the first hooks are applied, so the modules made of it are
imported here, when they are needed.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..._common.distributed import launched_rank
from ..._common.files import read_object
from ..._common.flags import parse_flags, says_true
from ...encoders import allow_remote_code
from ...errors import RevisionError
from ...tower import TOWER_NAME
from .. import run_record
from ..base import HOSTS, Assistant, Host
from ..command_line import failures_in_one_line, renamed_flags, require_model_folder
from ..native_form import is_native
from ..tower_flags import checkpoint_encoder
from .hook_table import HOOKS
from .variant import is_next

SUPPORTED_LLAVA = "1.2.2"
MPT = "mpt"


@HOSTS.register("llava")
class LlavaHost(Host):
    name = "llava"
    distribution = "llava-torch"
    hooks = HOOKS

    def version(self) -> str | None:
        if is_next():
            return None
        for distribution in (self.distribution, "llava"):
            try:
                return version(distribution)
            except PackageNotFoundError:
                continue
        return None

    def check(self) -> None:
        installed = self.version()
        if installed is None:
            raise RevisionError(
                "LLaVA is not installed; 'pip install --no-deps llava-torch==1.2.2.post1', or 'pip install "
                "--no-deps -e' your checkout, or train in transformers alone with --host hf"
            )
        if not (installed == SUPPORTED_LLAVA or installed.startswith(SUPPORTED_LLAVA + ".post")):
            raise RevisionError(f"LLaVA {installed} is not supported; this release binds to {SUPPORTED_LLAVA}")

    def install(self) -> None:
        self.check()
        # importing bitsandbytes would start a compiler process of 600 MB beside every rank; nothing here compiles
        os.environ.setdefault("TORCH_WARM_POOL", "0")
        self.hooks.apply_before()
        self.import_host()
        self.hooks.apply_after()

    def import_host(self) -> None:
        """Import LLaVA, for which the first hooks must be applied. Raises RevisionError where it does not import."""
        try:
            importlib.import_module("llava.train.train")
            importlib.import_module("llava.model.language_model.llava_llama")
        except ImportError as error:
            raise RevisionError(f"LLaVA {self.version()} does not import: {error}; install the tested set") from error

    def train(self, arguments: Sequence[str]) -> None:
        arguments = renamed_flags(arguments)
        flags = parse_flags(arguments)
        run_record.refuse_finished(flags)
        _require_model(flags.get("--model_name_or_path"))
        self.check_flags(flags)
        if says_true(flags.get("--revision_trust_remote_code", False)):
            allow_remote_code()
        out = flags.get("--output_dir")
        self.install()
        importlib.import_module(".command_line", __package__).check_arguments(arguments)
        if out is not None and flags.get("--vision_tower") == TOWER_NAME and launched_rank() == 0:
            run_record.begin(Path(out), arguments)
        # LLaVA builds the projector before the Trainer seeds
        importlib.import_module("transformers.trainer_utils").set_seed(int(flags.get("--seed", "42")))
        before, sys.argv = sys.argv, [sys.argv[0], *arguments]
        try:
            with failures_in_one_line(out):
                importlib.import_module("llava.train.train").train()
        finally:
            sys.argv = before

    def check_flags(self, flags: dict[str, str]) -> None:
        """Raise RevisionError for flags with which this host would do something else than it is asked for."""

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
        self.install()
        inference = importlib.import_module(".inference", __package__)
        placed = {"bits": bits, "device_map": device_map}
        return inference.LlavaAssistant.load(model, base=base, device=device, template=template, **placed)

    def check_checkpoint(self, model: Path, base: str | None) -> None:
        require_base(model, base)
        config = read_object(model / "config.json")
        if "revision" in config or config.get("mm_vision_tower") == TOWER_NAME:
            checkpoint_encoder(config.get("revision"))


def require_base(path: Path, base: str | None) -> bool:
    """Whether the checkpoint folder only holds parts over a language model. Raises where it is none or lacks its
    `base`.
    """
    if not (path / "config.json").is_file():
        raise RevisionError(
            f"{path}: no config.json, so not a checkpoint; give the --output_dir of a finished training"
        )
    part = None
    if (path / "adapter_config.json").is_file():
        part = "a LoRA checkpoint (adapters only)"
    elif (path / "mm_projector.bin").is_file() and not list(path.glob("model*.safetensors")):
        part = "a Stage-1 checkpoint (a projector only)"
    if not part and base is not None:
        raise RevisionError(f"{path}: is a whole checkpoint, with its language model; leave out --base")
    if part and base is not None and base.startswith(("/", ".", "~")) and not (Path(base) / "config.json").is_file():
        raise RevisionError(f"--base {base}: no language model there")
    if part and base is None:
        raise RevisionError(f"{path}: is {part}; give its language model with --base")
    return part is not None


def require_same_base(path: Path, base: str) -> None:
    """Raise RevisionError where `base` is another language model than the one that a checkpoint was trained over, as
    far as both are known.
    """
    record = read_object(path / "config.json").get("revision")
    trained = record.get("language_model") if isinstance(record, dict) else None
    now = run_record.weights_identity(base)
    if None not in (trained, now) and trained != now:
        raise RevisionError(f"--base {base}: holds other weights than the language model that {path} was trained over")


def _require_model(name: str | None) -> None:
    """Raise RevisionError for a path, not a hub name, at which there is no language model, and for one that LLaVA would
    take for another kind.
    """
    if name and MPT in name:
        raise RevisionError(
            f"{name}: LLaVA takes every name with '{MPT}' in it for an MPT model and runs the code in its folder; give "
            "the same folder by a name without it, such as a link"
        )
    if name and is_native(Path(name).expanduser()):
        raise RevisionError(f"{name}: is an HF-native folder, which LLaVA does not train; add --host hf")
    require_model_folder(name)
