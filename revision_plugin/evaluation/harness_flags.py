"""What follows `--` in `revision evaluate`: flags of lmms-eval's own command line, checked before its long start."""

from __future__ import annotations

import argparse
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, NoReturn

from ..errors import RevisionError
from .generation import require_greedy_text

LEVELS = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")
OURS = "give it before '--' as {}"
PLANNING = "plans an evaluation instead of running one; run lmms-eval itself"
TEMPLATE = "the checkpoint is asked in the conversation template that it was trained in; leave it out"
REFUSED = {
    "--config": "no file of settings is read; give the flags themselves",
    "--model": "the model is llava_revision; give its checkpoint before '--' as --model",
    "--model_args": "give --model, --base, --blind, --load-4bit, --load-8bit or --device-map before '--'",
    "--tasks": OURS.format("--tasks"),
    "--include_path": "tasks of your own are scored by lmms-eval itself, with --model llava_revision",
    "--output_path": OURS.format("--out"),
    "--limit": OURS.format("--limit"),
    "--batch_size": OURS.format("--batch-size"),
    "-b": OURS.format("--batch-size"),
    "--device": OURS.format("--device"),
    "--use_cache": "its cache tells neither checkpoints nor images apart; answers are kept under --out already",
    "-c": "its cache tells neither checkpoints nor images apart; answers are kept under --out already",
    "--cache_requests": "its cache tells datasets of one task apart by nothing; leave it out",
    "--apply_chat_template": TEMPLATE,
    "--system_instruction": TEMPLATE,
    "--fewshot_as_multiturn": "these tasks are asked without examples; leave it out",
    "--predict_only": "the replies are under --out in any case, in the files of samples; leave it out",
    "-x": "the replies are under --out in any case, in the files of samples; leave it out",
    "--baseline": "it would score the other run's replies by exact match, not as these tasks do; use 'revision table'",
    "--check_integrity": "it runs tests that lmms-eval's package does not hold; leave it out",
    "--launcher_args": "no task here asks a judge; leave it out",
    "--agentic_trace_mode": "no task here is agentic; leave it out",
    "--max_tokens": "llava_revision counts no tokens; give --limit before '--'",
    "--trust_remote_code": "lmms-eval does nothing with it; an encoder's code runs by --trust-remote-code before '--'",
    "--process_with_media": "no score here looks at an image; leave it out",
    "--tui": "nothing is scored in it; run lmms-eval itself",
    "--power-analysis": PLANNING,
    "--effect-size": PLANNING,
    "--alpha": PLANNING,
    "--power": PLANNING,
    "--correlation": PLANNING,
    "--std-a": PLANNING,
    "--std-b": PLANNING,
    "--help": "'python -m lmms_eval eval --help' says what lmms-eval takes",
    "-h": "'python -m lmms_eval eval --help' says what lmms-eval takes",
}


def _whole(low: int, high: int | None = None, why: str = "") -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            needed = f"{low}" if high == low else f"at least {low}"
            raise argparse.ArgumentTypeError(f"{needed} is needed, not {text}{why}")
        return value

    read.__name__ = "whole number"
    return read


def _seeds(text: str) -> str:
    parts = text.split(",")
    if len(parts) not in (1, 3, 4) or not all(part.strip().lower() == "none" or int(part) >= 0 for part in parts):
        raise argparse.ArgumentTypeError(f"1, 3 or 4 whole numbers or None with commas are needed, not {text}")
    return text


def _timezone(text: str) -> str:
    if text not in zoneinfo.available_timezones():
        raise argparse.ArgumentTypeError(f"there is no time zone '{text}'")
    return text


def _pairs(text: str) -> str:
    if not all("=" in part for part in text.split(",") if part):
        raise argparse.ArgumentTypeError(f"NAME=VALUE with commas between them is needed, not {text}")
    return text


def _greedy(text: str) -> str:
    require_greedy_text(text)
    return text


@dataclass(frozen=True)
class Flag:
    """One that lmms-eval gets. `changes`: other values are another run, whose answers and results are kept apart."""

    names: tuple[str, ...]
    read: Callable[[str], Any] | None = None  # None: it takes no value
    changes: bool = False
    default: Any = None  # which is the same run as none given
    choices: tuple[str, ...] | None = None


PASSED = (
    Flag(("--offset",), _whole(0), changes=True, default=0),
    Flag(("--seed",), _seeds, changes=True, default="0,1234,1234,1234"),
    Flag(("--gen_kwargs",), _greedy, changes=True, default=""),
    Flag(("--reasoning_tags",), str, changes=True),
    Flag(("--num_fewshot",), _whole(0, 0, ": these tasks are asked without examples")),
    Flag(("-n", "--repeats", "--num_samples"), _whole(1, 1, ": greedy replies are the same every time")),
    Flag(("--max_batch_size",), _whole(1)),
    Flag(("--log_samples",)),
    Flag(("--log_samples_suffix",), str),
    Flag(("--wandb_args",), _pairs),
    Flag(("--wandb_log_samples",)),
    Flag(("--swanlab_args",), _pairs),
    Flag(("--swanlab_log_samples",)),
    Flag(("--hf_hub_log_args",), _pairs),
    Flag(("--write_out", "-w")),
    Flag(("--show_config",)),
    Flag(("--verbosity",), str, choices=LEVELS),
    Flag(("--timezone",), _timezone),
    Flag(("--process-docs-parallel", "--process_docs_parallel"), _whole(1)),
    Flag(("--force_simple",)),
)


@dataclass(frozen=True)
class HarnessFlags:
    """The words that lmms-eval gets, and by name what the run depends on."""

    words: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RevisionError(f"lmms-eval's {message.removeprefix('argument ')}")


def read_flags(words: Sequence[str], *, batch_size: int | str = 1) -> HarnessFlags:
    """What lmms-eval gets of `words`. Raises RevisionError for flags that are not lmms-eval's, that say otherwise what
    `revision evaluate` says, or that would do nothing or something wrong.
    """
    names = [word.partition("=")[0] for word in words]
    for name in names:
        if name in REFUSED:
            raise RevisionError(f"lmms-eval's {name}: {REFUSED[name]}")
    parser = _Parser(prog="lmms-eval", add_help=False, allow_abbrev=False)
    for flag in PASSED:
        if sum(names.count(name) for name in flag.names) > 1:
            raise RevisionError(f"lmms-eval's {flag.names[0]} is given twice; give it once")
        keywords = {"type": flag.read, "choices": flag.choices} if flag.read else {"action": "store_true"}
        parser.add_argument(*flag.names, **keywords)  # type: ignore[arg-type]
    given, unknown = parser.parse_known_args(list(words))
    if unknown:
        raise RevisionError(f"lmms-eval has no flag {unknown[0]}; 'python -m lmms_eval eval --help' lists them")
    _check_loggers(given, batch_size)
    settings = {}
    for flag in PASSED:
        name = flag.names[0].lstrip("-")
        value = getattr(given, name.replace("-", "_"), None)
        if flag.changes and value not in (None, flag.default):
            settings[name] = value
    notes = ["lmms-eval does nothing with its --log_samples_suffix"] if given.log_samples_suffix else []
    return HarnessFlags(list(words), settings, notes)


def _check_loggers(given: argparse.Namespace, batch_size: int | str) -> None:
    """Raise RevisionError for what lmms-eval would go on without, saying so in its log at most."""
    for package in ("wandb", "swanlab"):
        asked = getattr(given, f"{package}_args")
        if asked and find_spec(package) is None:
            raise RevisionError(f"--{package}_args: {package} is not installed; 'pip install {package}'")
        if getattr(given, f"{package}_log_samples") and not asked:
            raise RevisionError(f"--{package}_log_samples: give --{package}_args, too")
    if any(part.partition("=")[0].strip() == "output_path" for part in (given.hf_hub_log_args or "").split(",")):
        raise RevisionError("--hf_hub_log_args: its output_path is --out; leave it out")
    if given.max_batch_size and batch_size != "auto":
        raise RevisionError("--max_batch_size bounds --batch-size auto; leave it out")
