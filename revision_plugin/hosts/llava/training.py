"""What the parts of one training share, which LLaVA does not hand from one to another."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...tower import PseudoVisionTower
from ..probe import Probe
from ..store_checks import StoreChecks


@dataclass
class Training:
    """The training of this process: its data module needs the aligner, and LLaVA shows it only an image processor."""

    tower: PseudoVisionTower | None = None
    config: Any = None  # of the model, which its checkpoints will hold
    several_rows: bool = False  # whether a batch is a list, in which an example has rows of its own number
    image_folder: Path | None = None  # resolved
    probe: Probe | None = None
    checks: StoreChecks = field(default_factory=StoreChecks)


training = Training()
