"""The command line of a training, checked before a host's own parser sees it, and what a training may fail of."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import math
import re
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from transformers import HfArgumentParser

from .._common.files import write_text
from ..errors import RevisionError, environment_line, first_line
from .curves import require_tracker
from .tower_record import MOST_TOKENS

REPORT = "traceback.log"
# LLaVA's launch flags by today's names; a number of warm-up steps below 1 is a share of all steps
RENAMED_FLAGS = {"--evaluation_strategy": "--eval_strategy", "--warmup_ratio": "--warmup_steps"}
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
    "revision_whole_share": 0,
    "revision_probe_steps": 1,
    "revision_probe_rows": 2,
    "weight_decay": 0,
    "num_train_epochs": 0,
    "warmup_ratio": 0,
}
AT_MOST = {"seed": 2**32 - 1, "warmup_ratio": 1, "revision_whole_share": 1, "revision_tokens": MOST_TOKENS}
IN_A_WORKER = re.compile(r"RevisionError: (.+)\Z", re.S)  # the end of the report of a data loader's process
FULL_DISK = ("PytorchStreamWriter", "file write failed", "No space left", "unexpected pos", "Disk quota")


class _Parser(HfArgumentParser):
    """transformers' parser with errors in one line."""

    def error(self, message: str) -> NoReturn:
        raise RevisionError(f"{message}; see LLaVA's flags and the plugin's in docs/own-llava.md")


def renamed_flags(arguments: Sequence[str]) -> list[str]:
    """LLaVA's launch flags, those that the installed transformers calls otherwise by their names there, with
    underscores: it takes dashes, too.
    """
    training = importlib.import_module("transformers.training_args").TrainingArguments
    known = {field.name for field in dataclasses.fields(training)}
    renamed = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
            if name[2:] not in known:
                name = RENAMED_FLAGS.get(name, name)
        renamed.append("".join((name, equals, value)))
    return renamed


def require_model_folder(name: str | None) -> None:
    """Raise RevisionError for a path, not a hub name, at which there is no language model."""
    if name and name.startswith(("/", "./", "../", "~")) and not (Path(name).expanduser() / "config.json").is_file():
        raise RevisionError(
            f"{name}: no language model there; give --model_name_or_path a folder with config.json, or a hub name"
        )


def checked_values(arguments: Sequence[str], types: tuple[Any, ...]) -> dict[str, Any]:
    """The values of the flags that the dataclasses `types` declare. Raises RevisionError for flags that they lack or
    would guess from their beginning, and for values that no training can have.
    """
    parser = _Parser(types, allow_abbrev=False)
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
    require_tracker(values.report_to)
    return vars(values)


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
        raise RevisionError(f"{first_line(error)}; lower --per_device_train_batch_size") from error
    except SafetensorError as error:
        raise RevisionError(f"weights cannot be written or read: {error}; make room, or get them again") from error
    except OSError as error:
        raise RevisionError(environment_line(error)) from error
    except Exception as error:  # of any library under the training, whose report would be many screens
        reason = (str(error).strip().splitlines() or [""])[0][:300]
        if any(mark in str(error) for mark in FULL_DISK):
            raise RevisionError(f"{out}: cannot be written: {reason}; make room and repeat the command") from error
        place = _keep_report(out)
        raise RevisionError(f"the training ended in {type(error).__name__}: {reason}{place}") from error


def _keep_report(out: str | None) -> str:
    """Write the whole report of the error at hand into OUT, if there is one, and say so."""
    if out is None or not Path(out).is_dir():
        return ""
    with contextlib.suppress(OSError):
        write_text(Path(out) / REPORT, traceback.format_exc())
        return f" (whole report in {Path(out) / REPORT})"
    return ""
