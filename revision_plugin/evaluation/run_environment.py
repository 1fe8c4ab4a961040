"""How `revision evaluate` hands paths to the process that scores: lmms-eval splits its own arguments at commas."""

from __future__ import annotations

import json
import os
from typing import Any

RUN = "REVISION_EVALUATION"  # JSON with `output` and the model's arguments, `model`


def run_settings() -> dict[str, Any] | None:
    """What `revision evaluate` asks of this process; None where somebody else started it."""
    return json.loads(os.environ[RUN]) if RUN in os.environ else None
