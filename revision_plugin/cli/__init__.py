"""The `revision` command line: one file a command, imported when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from .._common.library_noise import quiet_libraries
from .._common.verbosity import Verbosity, choose_verbosity
from ..errors import RevisionError, one_line, shown
from .environment import require_own_environment

COMMANDS = {
    "encode": "encode texts or images into an embedding store (torchrun shares the work)",
    "convert": "bring features made elsewhere into an embedding store",
    "moments": "sum a store or part of one for 'fit --merge' (torchrun shares the work)",
    "fit": "fit an aligner on unpaired stores, on corpora or on sums (torchrun shares the work)",
    "apply": "align a text store",
    "geometry": "how large the modality gap is, what shape it has, what each aligner makes of it",
    "inspect": "what a store, aligner or checkpoint is, and whether it is whole",
    "doctor": "versions, the host found and what is bound in it",
    "ask": "ask a trained checkpoint about images",
    "demo": "a page in the browser: ask checkpoints about images, side by side",
    "evaluate": "score a checkpoint through lmms-eval",
    "table": "the eleven-benchmark table from lmms-eval results",
    "export": "a trained model, an aligner or a store as a folder to share",
    "quickstart": "the whole flow on the embedded world",
}


LEVELS = {  # what libraries log, what the plugin logs
    Verbosity.QUIET: (logging.ERROR, logging.ERROR),
    Verbosity.NORMAL: (logging.WARNING, logging.INFO),
    Verbosity.VERBOSE: (logging.INFO, logging.DEBUG),
}
PASSING_ON = ("evaluate",)  # what follows "--" is for another program's command line


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and which takes no abbreviated flags."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **{"allow_abbrev": False, **keywords})

    def parse_known_args(self, args=None, namespace=None):
        self._refuse_repeats(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def _refuse_repeats(self, words) -> None:
        """Raise RevisionError for a flag given twice where one value would win without a word."""
        single = {flag for each in self._actions if not each.default == [] for flag in each.option_strings}
        given = [word.partition("=")[0] for word in words]
        twice = sorted(flag for flag in single if given.count(flag) > 1)
        if twice:
            raise RevisionError(f"{twice[0]} is given twice; give it once")

    def error(self, message: str) -> NoReturn:
        raise RevisionError(f"{message}; see '{self.prog} --help'")


def build_parser(command: str | None = None) -> Parser:
    """The parser of all commands; only the flags of `command` are known."""
    parser = Parser(prog="revision", description="Text-only pretraining for LLaVA through modality-gap alignment.")
    parser.epilog = "Results go to standard output; progress, notes and errors to standard error."
    _add_verbosity(parser, default=False)
    subparsers = parser.add_subparsers(dest="command", required=True, parser_class=Parser, metavar="COMMAND")
    for name, text in COMMANDS.items():
        sub = subparsers.add_parser(name, help=text, description=text)
        if name == command:
            _add_verbosity(sub, default=argparse.SUPPRESS)
            module = importlib.import_module(f".{name}", __name__)
            module.add_flags(sub)
            sub.set_defaults(run=module.run)
    return parser


def _add_verbosity(parser: Parser, default: object) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quiet", action="store_true", default=default, help="print results and errors alone")
    group.add_argument("--verbose", action="store_true", default=default, help="print what libraries log, too")


def _read_verbosity(words: Sequence[str]) -> Verbosity:
    """What the words say, before libraries load that the parser's flags need."""
    own = words[: words.index("--")] if "--" in words else words
    if "--quiet" in own and "--verbose" in own:
        raise RevisionError("--quiet and --verbose are opposites; give one of them")
    return Verbosity.QUIET if "--quiet" in own else Verbosity.VERBOSE if "--verbose" in own else Verbosity.NORMAL


def main(argv: list[str] | None = None) -> None:
    """Entry point. Exits with status 2 and one line for bad input."""
    words = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character gets its escape
    with one_line(interrupted="repeat the command to resume"):
        _speak(_read_verbosity(words))
        require_own_environment()
        command = next((word for word in words if word in COMMANDS), None)
        passed_on: list[str] = []
        if command in PASSING_ON and "--" in words:
            place = words.index("--")
            words, passed_on = words[:place], words[place + 1 :]
        arguments = build_parser(command).parse_args(words)
        arguments.passed_on = passed_on
        if getattr(arguments, "cache_size", None) is not None:
            importlib.import_module(".arguments", __name__).use_cache_size(arguments)
        arguments.run(arguments)


def _speak(verbosity: Verbosity) -> None:
    """Let this process say so much on standard error."""
    choose_verbosity(verbosity)
    quiet_libraries(verbosity)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(message)s"))
    libraries, ours = LEVELS[verbosity]
    logging.basicConfig(level=libraries, handlers=[handler], force=True)
    logging.getLogger("revision_plugin").setLevel(ours)


class OneLine(logging.Formatter):
    """Messages on one line each: names and ids in them come from data."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))
