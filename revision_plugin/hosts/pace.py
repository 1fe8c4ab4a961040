"""How fast a training goes and what memory it takes, in the log lines of its loss; the bar is transformers' own."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import torch

GIB = 2**30


class Pace:
    """Counts what `trainer`'s language model reads, visual tokens counted and padding not.

    Where a batch holds the mark `place` for an image, the image takes `visual` tokens more than that mark.
    """

    def __init__(self, trainer: Any, *, place: int | None = None, visual: int = 0):
        self._trainer, self._place, self._visual = trainer, place, visual
        self._tokens: Any = 0
        self._rows = 0
        self._since: float | None = None
        self._began: tuple[float, int] | None = None  # when, and at which step

    def count(self, batch: dict[str, Any]) -> None:
        """Count a batch that is about to be trained on; nothing waits for the device."""
        if self._since is None:
            self._since = time.monotonic()
            self._began = self._since, self._trainer.state.global_step
        self._tokens = self._tokens + batch["attention_mask"].sum()
        if self._place is not None:
            self._tokens = self._tokens + self._visual * (batch["input_ids"] == self._place).sum()
        self._rows += len(batch["input_ids"])

    def take(self) -> dict[str, float]:
        """The rates of all processes together since the last call, and the highest memory of one so far, for the log;
        called by all of them. Where there is no bar, also the time left.
        """
        if self._since is None or self._began is None:
            return {}
        trainer, now = self._trainer, time.monotonic()
        mine = torch.tensor([[int(self._tokens), self._rows, _peak_memory(trainer.args.device)]])
        every = trainer.accelerator.gather(mine.to(trainer.args.device))
        seconds = max(now - self._since, 1e-9)
        self._tokens, self._rows, self._since = 0, 0, now
        tokens, rows = every[:, :2].sum(0).tolist()
        values = {
            "tokens_per_second": round(tokens / seconds, 2),
            "samples_per_second": round(rows / seconds, 3),
            "peak_memory_gib": round(every[:, 2].max().item() / GIB, 3),
        }
        if trainer.args.disable_tqdm:
            began, first = self._began
            done, left = trainer.state.global_step - first, trainer.state.max_steps - trainer.state.global_step
            values["seconds_left"] = round((now - began) / max(done, 1) * left, 1)
        return values


def _peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU that this process took, or of its resident memory where it trains on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
