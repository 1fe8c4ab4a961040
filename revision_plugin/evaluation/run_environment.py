"""How `revision evaluate` hands paths to the process that scores: lmms-eval splits its own arguments at commas."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

RUN = "REVISION_EVALUATION"  # JSON with `output` and the model's arguments, `model`


def run_settings() -> dict[str, Any] | None:
    """What `revision evaluate` asks of this process; None where somebody else started it."""
    return json.loads(os.environ[RUN]) if RUN in os.environ else None


def checkpoint_state(pretrained: str) -> list:
    """The checkpoint's files with size and time of change: another training in the same folder is another
    checkpoint.
    """
    path = Path(pretrained)
    if not path.is_dir():
        return [pretrained]
    files = sorted(p for p in path.iterdir() if p.suffix in (".bin", ".safetensors", ".json") and p.is_file())
    return [str(path.resolve()), *([p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files)]
