"""Code that comes with data: a model's own, or a class that a checkpoint names. It runs by consent alone."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import dynamic_module_utils

from .._common.files import hash_file, read_json
from .._common.modules import module_file
from ..errors import RevisionError

COMMIT = re.compile(r"[0-9a-f]{40}")
CONFIGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
READ_IT = "read it, and give --trust-remote-code to run it"
_consent = False


def allow_remote_code() -> None:
    """What --trust-remote-code says: from here on this process runs code that comes with a model."""
    global _consent
    _consent = True


def is_remote_code_allowed() -> bool:
    """Whether `allow_remote_code` was called in this process."""
    return _consent


@contextlib.contextmanager
def never_asking() -> Iterator[None]:
    """Inside, transformers refuses a model's code where its caller did not say, instead of asking on standard input,
    which a pipe may answer.
    """
    before, dynamic_module_utils.TIME_OUT_REMOTE_CODE = dynamic_module_utils.TIME_OUT_REMOTE_CODE, 0
    try:
        yield
    except ValueError as error:
        if "custom code" not in str(error):
            raise
        raise RevisionError(f"{str(error).splitlines()[0]}; {READ_IT}") from None
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


def code_targets(folder: Path) -> list[str]:
    """What the folder's configs name in any `auto_map`: `module.Class`, or `OWNER/REPO--module.Class` for another
    repository's code.
    """
    configs = [read_json(folder / name) for name in CONFIGS if (folder / name).is_file()]
    return sorted({target for config in configs for target in _targets(config)})


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _targets(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key != "auto_map":
                yield from _targets(each)
                continue
            names = each.values() if isinstance(each, dict) else [each]
            for target in (t for name in names for t in (name if isinstance(name, list) else [name])):
                if target:
                    yield str(target)


def consented_code(spec: str, name: str, folder: Path) -> list[Path]:
    """`remote_code_files` of the model in `folder`, which may run: `require_consent` has passed; none for a model
    without.
    """
    if code_targets(folder):
        require_consent(spec, name, folder)
    return remote_code_files(folder)


def remote_code_files(folder: Path) -> list[Path]:
    """The Python files that come with a model whose configs name code of its own; none for any other model."""
    return sorted(folder.glob("*.py")) if code_targets(folder) else []


def require_consent(spec: str, name: str, folder: Path) -> None:
    """Raise RevisionError unless code of the model in `folder` may run: by consent, and from the hub only at a fixed
    commit.
    """
    targets = code_targets(folder)
    if not _consent:
        raise RevisionError(f"encoder '{spec}': {name} brings code of its own ({', '.join(targets)}); {READ_IT}")
    elsewhere = sorted({target.partition("--")[0] for target in targets if "--" in target})
    if elsewhere:
        raise RevisionError(
            f"encoder '{spec}': the code of {name} lies in another repository ({', '.join(elsewhere)}), where it "
            "could change unseen; "
            "download it into the model's folder and name it in config.json without 'OWNER/REPO--'"
        )
    if not Path(name).is_dir() and not COMMIT.fullmatch(name.partition("@")[2]):
        raise RevisionError(
            f"encoder '{spec}': code from the hub runs only at a fixed commit; write "
            f"{name.partition('@')[0]}@{folder.name}"
        )


def require_module_consent(spec: str, module: str, recorded: dict | None) -> None:
    """Raise RevisionError unless a module that a checkpoint names, not the user, may be imported: by consent, and only
    if it is the one that `recorded` describes.
    """
    file = module_file(module)
    if file is None:
        raise RevisionError(f"encoder '{spec}': there is no module '{module}' here")
    digest = hash_file(file)
    if not _consent:
        raise RevisionError(
            f"encoder '{spec}' is code, {file} (SHA-256 {digest[:16]}), which data names and not you; {READ_IT}"
        )
    if recorded and recorded.get("sha256") not in (None, digest):
        raise RevisionError(
            f"encoder '{spec}': {file} (SHA-256 {digest[:16]}) is not the file of the training "
            f"({str(recorded['sha256'])[:16]}); put the original back"
        )
