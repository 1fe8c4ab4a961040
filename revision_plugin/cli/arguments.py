"""What the commands' flags share: defaults read from signatures, checked numbers, consent to a model's code."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._common import distributed, trackers
from .._common.file_cache import DEFAULT_SIZE, SIZE_VARIABLE, read_size
from .._common.trackers import Tracker
from ..encoders import allow_remote_code
from ..errors import RevisionError


class FlagsOf:
    """Adds flags whose defaults are those of `function`'s parameters of the same names."""

    def __init__(self, parser: argparse.ArgumentParser, function: Callable):
        self._parser, self._parameters = parser, inspect.signature(function).parameters

    def add(self, flag: str, *, help: str = "", **settings: Any) -> None:
        """`--some-flag` with the default of the parameter `some_flag`, which its help says."""
        parameter = self._parameters[settings.get("dest") or flag.lstrip("-").replace("-", "_")]
        if isinstance(parameter.default, bool):
            settings.setdefault("action", "store_true")
        elif parameter.default is not inspect.Parameter.empty:
            settings.setdefault("default", parameter.default)
            if parameter.default is not None:
                help = f"{help} (default {parameter.default})".strip()
        self._parser.add_argument(flag, help=help or None, **settings)


MOST = 2**31 - 1  # of counts
MOST_SEED = 2**32 - 1  # that every library takes


def whole(low: int, high: int = MOST) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`."""

    def read(text: str) -> int:
        value = int(text) if text.isascii() and text.lstrip("+-").isdigit() and len(text) < 20 else low - 1
        if not low <= value <= high:
            bound = f"of at least {low}" if value < low else f"of at most {high}"
            raise argparse.ArgumentTypeError(f"a whole number {bound} is needed, not {text[:40]}")
        return value

    read.__name__ = "whole number"
    return read


def add_seed(flags: FlagsOf) -> None:
    flags.add("--seed", type=whole(0, MOST_SEED))


def share(high: float, *, above_zero: bool = False) -> Callable[[str], float]:
    """An argparse type: a number from 0 to `high`, or above 0."""

    def read(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and 0 <= value <= high) or (above_zero and value == 0):
            low = "above 0 and up" if above_zero else "from 0"
            raise argparse.ArgumentTypeError(f"a number {low} to {high:g} is needed, not {text[:40]}")
        return value

    read.__name__ = "number"
    return read


def finite(text: str) -> float:
    """An argparse type: a finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"a finite number is needed, not {text[:40]}")
    return value


def add_consent(parser: argparse.ArgumentParser) -> None:
    text = "run code that the encoder's model brings; read it first"
    parser.add_argument("--trust-remote-code", action="store_true", help=text)


def use_consent(arguments: argparse.Namespace) -> None:
    """Act on `add_consent`'s flag."""
    if arguments.trust_remote_code:
        allow_remote_code()


def add_view(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--view", help="of stores with several views an item: whole, parts, or the number of a part")


NEW_STORE_HELP = "new folder, or an address such as s3://bucket/store"


def size(text: str) -> str:
    """An argparse type: a size in bytes, as `REVISION_CACHE_SIZE` takes it."""
    read_size(text, "--cache-size")
    return text


def add_cache_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache-size",
        type=size,
        help=f"of stores at s3://, gs://, hf:// on this disk (default {SIZE_VARIABLE}, or {DEFAULT_SIZE})",
    )


def use_cache_size(arguments: argparse.Namespace) -> None:
    """Act on `add_cache_size`'s flag, for this process and those that it starts."""
    os.environ[SIZE_VARIABLE] = arguments.cache_size


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU that is there, each process its own)")


def add_trackers(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--report-to",
        type=trackers.require_installed,
        nargs="+",
        default=[],
        metavar="TRACKER",
        help=f"draw {what} in {', '.join(trackers.NAMES)}",
    )
    parser.add_argument("--run-name", help="of the run there (default: the command and the name of --out)")


def chosen_trackers(arguments: argparse.Namespace, command: str) -> contextlib.AbstractContextManager[Tracker | None]:
    """The trackers of `add_trackers`' flags, which write beside --out (where that is an address, here), in the first
    process alone.
    """
    if arguments.run_name is not None and not arguments.report_to:
        raise RevisionError(f"--run-name {arguments.run_name}: is for --report-to; leave it out")
    out = arguments.out if isinstance(arguments.out, Path) else Path(Path(arguments.out).name)
    names = arguments.report_to if distributed.launched_rank() == 0 else []
    name = arguments.run_name or f"{command}-{out.resolve().name}"
    return trackers.open_trackers(names, name=name, folder=out.resolve().parent)
