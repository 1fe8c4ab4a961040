"""How many questions are asked at once: a given number, or the most that fit (`auto`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from loguru import logger

from ..errors import RevisionError

AUTO = "auto"
AUTO_ON_CPU = 8  # where more at once is not faster
MOST = 64  # that `auto` begins with on a GPU, unless lmms-eval's --max_batch_size says otherwise


class BatchSize:
    """`given` is a whole number, or `auto`: on a CPU AUTO_ON_CPU, elsewhere `most`, halved whenever the memory of
    `device` does not suffice.

    Raises RevisionError for anything else.
    """

    def __init__(self, given: int | str, device: torch.device, most: int | None = None):
        self.auto = given == AUTO
        if most is not None and not self.auto:
            raise RevisionError(f"max_batch_size bounds batch_size={AUTO}; leave it out")
        self.size = MOST if self.auto else _positive(given, "batch_size")
        if most is not None:
            self.size = _positive(most, "max_batch_size")
        if self.auto and device.type == "cpu":
            self.size = min(AUTO_ON_CPU, self.size)
            logger.info("batch size: {}, as always on a CPU", self.size)

    def run(self, batch: Sequence, answer: Callable[[Sequence], Any]) -> None:
        """Call `answer` with the whole `batch`; with `auto` in smaller parts where it does not fit. Raises
        RevisionError where not even one question fits.
        """
        start = 0
        while start < len(batch):
            part = batch[start : start + self.size]
            if self._fits(part, answer):
                start += len(part)
                continue
            if len(part) == 1:
                raise RevisionError("the memory does not suffice for a single question; free some, or load in 4 bits")
            self.size = len(part) // 2
            logger.info("{} questions at once do not fit; batch size: {}", len(part), self.size)
            torch.cuda.empty_cache()

    def _fits(self, part: Sequence, answer: Callable[[Sequence], Any]) -> bool:
        try:
            answer(part)
        except Exception as error:
            if not (self.auto and _is_out_of_memory(error)):
                raise
            return False  # the memory that the traceback holds is free once it is gone
        return True


def _is_out_of_memory(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, torch.cuda.OutOfMemoryError):
        error = error.__cause__
    return error is not None


def _positive(value: Any, name: str) -> int:
    try:
        number = int(value)
    except (ValueError, TypeError):
        number = 0
    if number < 1:
        raise RevisionError(f"{name} must be a whole number of at least 1{_or_auto(name)}, not '{value}'")
    return number


def _or_auto(name: str) -> str:
    return f", or {AUTO}" if name == "batch_size" else ""
