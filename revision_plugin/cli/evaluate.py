"""`revision evaluate`: a checkpoint's accuracy on benchmarks."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..evaluation.run import GROUP, evaluate
from ..evaluation.table import BENCHMARKS, markdown, read_row
from .arguments import FlagsOf, add_consent, add_device, use_consent, whole


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags = FlagsOf(parser, evaluate)
    flags.add("--model", type=Path, required=True)
    parser.add_argument("--tasks", default=GROUP, help="names with commas (default: the eleven benchmarks)")
    flags.add("--out", type=Path, required=True)
    flags.add("--base", help="the language model of a Stage-1 or LoRA checkpoint")
    flags.add("--data-root", type=Path, help="datasets mirrored as OWNER/NAME; default: the hub")
    flags.add("--blind", help="questions without their images")
    flags.add("--limit", type=whole(1), help="only the first rows of each task")
    flags.add("--batch-size", type=whole(1))
    flags.add("--processes", type=whole(1), help="processes of one machine that share the questions (torchrun)")
    add_device(parser)
    add_consent(parser)


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
    )
    if BENCHMARKS.keys() & {name.removeprefix("revision_") for name in scored}:
        print(markdown([read_row(a.out)]))
    else:
        for name, accuracy in scored.items():
            print(f"{name}: accuracy {accuracy:.4f}")
