"""Which LLaVA `import llava` would give: 1.2.2, or LLaVA-NeXT, which goes by the same name."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

NEXT_FLAG = "mm_tunable_parts"


def package_folder() -> Path | None:
    """The folder of the package `llava`, which is not imported; None where there is none."""
    spec = find_spec("llava")
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def is_next() -> bool:
    """Whether it is LLaVA-NeXT, by the flag that only its training has."""
    folder = package_folder()
    train = folder / "train" / "train.py" if folder else None
    return bool(train and train.is_file() and NEXT_FLAG in train.read_text(encoding="utf-8"))
