"""The command line of a training, checked before LLaVA's own parser sees it."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from transformers import HfArgumentParser

from ...errors import RevisionError, environment_line

AT_LEAST = {
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "revision_tokens": 1,
    "model_max_length": 1,
    "dataloader_num_workers": 0,
    "seed": 0,
    "save_steps": 0,
    "logging_steps": 0,
    "learning_rate": 0,
    "weight_decay": 0,
    "num_train_epochs": 0,
    "warmup_ratio": 0,
}
AT_MOST = {"seed": 2**32 - 1, "warmup_ratio": 1}
IN_A_WORKER = re.compile(r"RevisionError: (.+)\Z", re.S)  # the end of the report of a data loader's process
FULL_DISK = ("PytorchStreamWriter", "file write failed", "No space left", "unexpected pos", "Disk quota")


class _Parser(HfArgumentParser):
    """LLaVA's parser with errors in one line."""

    def error(self, message: str) -> NoReturn:
        raise RevisionError(f"{message}; see LLaVA's flags and the plugin's in README.md")


def check_arguments(arguments: Sequence[str]) -> None:
    """Raise RevisionError for flags that LLaVA's training lacks or would guess from their beginning, and for values
    that no training can have.
    """
    train = importlib.import_module("llava.train.train")
    parser = _Parser((train.ModelArguments, train.DataArguments, train.TrainingArguments), allow_abbrev=False)
    if {"-h", "--help"} & set(arguments):
        return  # LLaVA's own parser answers
    values, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        flag = unknown[0].partition("=")[0]
        known = [option for action in parser._actions for option in action.option_strings]
        near = difflib.get_close_matches(flag, known, n=1) or [name for name in known if name.startswith(flag)][:1]
        hint = f"; did you mean {near[0]}?" if near else ""
        kind = "no such flag" if flag.startswith("-") else "a value without a flag"
        raise RevisionError(f"{flag}: {kind} in this training (flags are not abbreviated){hint}")
    for name, value in vars(values).items():
        problem = _problem(name, value)
        if problem:
            raise RevisionError(f"--{name} {value}: {problem}")


def _problem(name: str, value: Any) -> str | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    if not math.isfinite(value):
        return "a finite number is needed"
    if name in AT_LEAST and value < AT_LEAST[name]:
        return f"a number of at least {AT_LEAST[name]} is needed"
    if name in AT_MOST and value > AT_MOST[name]:
        return f"a number of at most {AT_MOST[name]} is needed"
    return None


@contextlib.contextmanager
def failures_in_one_line(out: str | None) -> Iterator[None]:
    """What a training under `out` can fail of by data or machine, as a RevisionError."""
    try:
        yield
    except RevisionError as error:
        inner = IN_A_WORKER.search(str(error))
        if not inner:
            raise
        raise RevisionError(inner[1].strip()) from None
    except torch.OutOfMemoryError as error:
        raise RevisionError(f"{str(error).splitlines()[0]}; lower --per_device_train_batch_size") from error
    except SafetensorError as error:
        raise RevisionError(f"{out}: weights cannot be written or read: {error}; make room and repeat") from error
    except OSError as error:
        reason = environment_line(error) if error.errno else str(error).strip().splitlines()[0]
        raise RevisionError(reason) from error
    except RuntimeError as error:
        if not any(mark in str(error) for mark in FULL_DISK):
            raise
        reason = str(error).splitlines()[0]
        raise RevisionError(f"{out}: cannot be written: {reason}; make room and repeat the command") from error
