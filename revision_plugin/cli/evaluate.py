"""`revision evaluate`: a checkpoint's accuracy on benchmarks."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..evaluation.batch_size import AUTO
from ..evaluation.benchmarks import BENCHMARKS
from ..evaluation.results import read_row
from ..evaluation.run import GROUP, evaluate
from ..evaluation.table import breakdown_markdown, markdown
from .arguments import FlagsOf, add_consent, add_device, share, use_consent, whole


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags = FlagsOf(parser, evaluate)
    flags.add("--model", type=Path, required=True)
    parser.add_argument("--tasks", default=GROUP, help="names with commas (default: the eleven benchmarks)")
    flags.add("--out", type=Path, required=True)
    flags.add("--base", help="the language model of a Stage-1 or LoRA checkpoint")
    flags.add("--data-root", type=Path, help="datasets mirrored as OWNER/NAME; default: the hub")
    flags.add("--blind", help="questions without their images")
    flags.add("--limit", type=rows, help="only the first rows of each task: how many, or a share below 1")
    flags.add("--batch-size", type=batch, help="questions at a time, or 'auto': as many as fit")
    flags.add("--processes", type=whole(1), help="processes of one machine that share the questions (torchrun)")
    flags.add("--load-4bit", help="the language model in 4 bits (bitsandbytes)")
    flags.add("--load-8bit", help="the language model in 8 bits (bitsandbytes)")
    flags.add("--device-map", choices=["auto"], help="one model shared by all GPUs")
    add_device(parser)
    add_consent(parser)
    parser.epilog = (
        "What follows '--' goes to lmms-eval's own command line, such as '-- --gen_kwargs max_new_tokens=8'."
    )


def rows(text: str) -> float:
    """An argparse type: a whole number of at least 1, or a share between 0 and 1."""
    if "." not in text:
        return whole(1)(text)
    value = share(1, above_zero=True)(text)
    if value == 1:
        raise argparse.ArgumentTypeError(f"a share below 1 or a whole number is needed, not {text}")
    return value


def batch(text: str) -> int | str:
    """An argparse type: a whole number of at least 1, or `auto`."""
    return text if text == AUTO else whole(1)(text)


rows.__name__, batch.__name__ = "number", "whole number"  # in messages


def run(a: argparse.Namespace) -> None:
    use_consent(a)
    scored = evaluate(
        a.model,
        a.tasks.split(","),
        a.out,
        base=a.base,
        data_root=a.data_root,
        blind=a.blind,
        limit=a.limit,
        batch_size=a.batch_size,
        device=a.device,
        processes=a.processes,
        trust_remote_code=a.trust_remote_code,
        load_4bit=a.load_4bit,
        load_8bit=a.load_8bit,
        device_map=a.device_map,
        harness=a.passed_on,
    )
    if BENCHMARKS.keys() & {name.removeprefix("revision_") for name in scored}:
        row = read_row(a.out)
        print(markdown([row]))
        print(breakdown_markdown(row, parts=False))
    else:
        for name, value in scored.items():
            print(f"{name}: {'CIDEr' if 'captions' in name else 'accuracy'} {value:.4f}")
