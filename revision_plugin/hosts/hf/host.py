"""transformers' own LLaVA around the pseudo-vision tower, trained in transformers' own Trainer; no LLaVA is needed.

What uses transformers' models is imported here when it is needed.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from ..._common.distributed import launched_rank
from ..._common.flags import parse_flags, says_true
from ...encoders import allow_remote_code
from ...errors import RevisionError
from .. import run_record
from ..base import HOSTS, Assistant, Host
from ..command_line import failures_in_one_line, renamed_flags, require_model_folder
from ..hooks import HookTable
from ..native_form import is_native, require_own_module
from ..shared_hooks import CONSENT, PARTIAL, PROCESSES

NEEDED = ("accelerate", "peft")
HOOKS = HookTable("transformers", before=(), after=(*PROCESSES, CONSENT, PARTIAL))


@HOSTS.register("hf")
class HfHost(Host):
    name = "hf"
    hooks = HOOKS
    by_name_alone = True  # its library is always there

    def version(self) -> str | None:
        try:
            return version("transformers")
        except PackageNotFoundError:
            return None

    def check(self) -> None:
        if self.version() is None:
            raise RevisionError("transformers is not installed; pip install transformers")
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            raise RevisionError(f"the host hf needs {missing[0]}, which is not installed; pip install {missing[0]}")

    def install(self) -> None:
        self.check()
        # importing bitsandbytes would start a compiler process of 600 MB beside every rank; nothing here compiles
        os.environ.setdefault("TORCH_WARM_POOL", "0")
        self.hooks.apply_before()
        self.hooks.apply_after()

    def train(self, arguments: Sequence[str]) -> None:
        arguments = renamed_flags(arguments)
        flags = parse_flags(arguments)
        run_record.refuse_finished(flags)
        name, out = flags.get("--model_name_or_path"), flags.get("--output_dir")
        require_model_folder(name)
        if says_true(flags.get("--revision_trust_remote_code", False)):
            allow_remote_code()
        self.install()
        importlib.import_module(".training_arguments", __package__).check_flags(arguments)
        if out is not None and launched_rank() == 0:
            run_record.begin(Path(out), arguments, host=self.name)
        with failures_in_one_line(out):
            importlib.import_module(".native_training", __package__).train(arguments, flags)

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
        self.check_checkpoint(Path(model), base)
        inference = importlib.import_module(".native_inference", __package__)
        if device_map is not None:
            raise RevisionError(f"{model}: an HF-native folder answers on one device here; leave out device_map")
        return inference.NativeAssistant.load(Path(model), device=device, template=template, bits=bits)

    def check_checkpoint(self, model: Path, base: str | None) -> None:
        if base is not None:
            raise RevisionError(f"{model}: is a whole checkpoint, with its language model; leave out --base")
        require_own_module(model)

    def opens(self, model: Path) -> bool:
        return is_native(model)
