"""The `revision` command line."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from ..errors import one_line
from . import commands


def _trust(sub: argparse.ArgumentParser) -> None:
    text = "run code that the encoder's model brings; read it first"
    sub.add_argument("--trust-remote-code", action="store_true", help=text)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="revision", description="Text-only pretraining for LLaVA through modality-gap alignment."
    )
    subparsers = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = command(
        "encode", commands.encode, "encode texts or images into an embedding store (torchrun shares the work)"
    )
    sub.add_argument(
        "--encoder",
        required=True,
        help="demo, open_clip:ARCH/PRETRAINED, hf:REPO, a local folder, llm2clip:VISION?text=LLM or python:MODULE:CLASS",
    )
    source = sub.add_mutually_exclusive_group(required=True)
    source.add_argument("--texts", type=Path, help="LLaVA JSON, JSONL, TXT or parquet")
    source.add_argument("--images", type=Path, help="a folder, or a LLaVA JSON with --image-folder")
    sub.add_argument("--image-folder", type=Path)
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument("--dtype", choices=["float16", "float32"], default="float16")
    sub.add_argument("--batch-size", type=int, default=64)
    sub.add_argument("--device", default="cpu")
    sub.add_argument(
        "--precision",
        choices=["fp32", "bf16", "fp16"],
        help="of the encoder's weights (default fp32; a language model's own in llm2clip)",
    )
    sub.add_argument("--max-failures", type=int, default=0, help="unusable items to tolerate; they are listed")
    _trust(sub)

    sub = command("fit", commands.fit, "fit an aligner on unpaired stores (torchrun shares the work)")
    sub.add_argument("--source", type=Path, required=True, help="text store")
    target = sub.add_mutually_exclusive_group(required=True)
    target.add_argument("--target", type=Path, help="image store")
    target.add_argument(
        "--refit-source", type=Path, metavar="ALIGNER", help="keep this aligner's method and target statistics"
    )
    sub.add_argument("--method", help="realign (default), none, mean_shift, c3, bc or aniso")
    sub.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    sub.add_argument("--held-out", type=float, default=0.1, help="share of both corpora for the held-out report")
    sub.add_argument("--device", default="cpu")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--out", type=Path, required=True)

    sub = command("apply", commands.apply, "align a text store")
    sub.add_argument("--aligner", type=Path, required=True)
    sub.add_argument("--source", type=Path, required=True)
    sub.add_argument("--dtype", choices=["float16", "float32"])
    sub.add_argument("--out", type=Path, required=True)

    sub = command("convert", commands.convert, "bring features made elsewhere into an embedding store")
    sub.add_argument(
        "source", type=Path, help=".pkl (file or folder of parts), clip-retrieval folder, .npy or .parquet"
    )
    sub.add_argument("--modality", choices=["text", "image"], required=True)
    sub.add_argument("--encoder", required=True, help="the spec they were made with, or external:NAME")
    sub.add_argument("--texts", type=Path, help="the texts of a .npy file, in its order")
    sub.add_argument("--dtype", choices=["float16", "float32"], default="float16")
    sub.add_argument("--max-failures", type=int, default=0)
    sub.add_argument("--out", type=Path, required=True)
    _trust(sub)

    sub = command("inspect", commands.inspect, "what a store, aligner or checkpoint is, and whether it is whole")
    sub.add_argument("path", type=Path)
    sub.add_argument("--json", action="store_true")

    command("doctor", commands.doctor, "versions, the host found and what would be bound in it")

    sub = command("ask", commands.ask, "ask a trained checkpoint about images")
    sub.add_argument("--model", type=Path, required=True)
    sub.add_argument("--base", help="the language model of a Stage-1 checkpoint")
    sub.add_argument("--image", type=Path, action="append", required=True, help="may be repeated")
    sub.add_argument("question", nargs="*")
    sub.add_argument("--stdin", action="store_true", help="read one question a line")
    sub.add_argument("--device", default="cpu")
    sub.add_argument("--max-new-tokens", type=int, default=64)
    sub.add_argument("--json", action="store_true", help="one JSON object a line")
    _trust(sub)

    sub = command("evaluate", commands.evaluate, "score a checkpoint through lmms-eval")
    sub.add_argument("--model", type=Path, required=True)
    sub.add_argument("--tasks", default="revision_bench", help="names with commas; default: the eleven benchmarks")
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument("--base", help="the language model of a Stage-1 or LoRA checkpoint")
    sub.add_argument("--data-root", type=Path, help="datasets mirrored as OWNER/NAME; default: the hub")
    sub.add_argument("--blind", action="store_true", help="questions without their images")
    sub.add_argument("--limit", type=int, help="only the first rows of each task")
    sub.add_argument("--batch-size", type=int, default=8)
    sub.add_argument("--device")
    sub.add_argument(
        "--processes", type=int, default=1, help="processes of one machine that share the questions (torchrun)"
    )
    _trust(sub)

    sub = command(
        "geometry", commands.geometry, "how large the modality gap is, what shape it has, what each aligner makes of it"
    )
    sub.add_argument("--source", type=Path, required=True, help="text store")
    sub.add_argument("--target", type=Path, required=True, help="image store")
    sub.add_argument("--pairs", action="store_true", help="rows of equal id are pairs: measure those too")
    sub.add_argument("--aligner", type=Path, nargs="+", default=[], help="fitted aligners to compare")
    sub.add_argument("--rows", type=int, default=10000, help="sample a store for neighbours and densities")
    sub.add_argument("--energy", type=float, default=0.9, help="share of the variance that the subspace U holds")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--out", type=Path, required=True)

    sub = command("table", commands.table, "the eleven-benchmark table from lmms-eval results")
    sub.add_argument("results", type=Path, nargs="+", help="folders with *_results.json, a row each")
    sub.add_argument("--published", action="store_true", help="the papers' rows above ours")
    sub.add_argument(
        "--cost", action="append", default=[], metavar="ROW=FILE", help="what scripts/cost.py wrote for a row"
    )
    sub.add_argument("--out", type=Path, help="also write OUT.md, OUT.csv and OUT.json")

    sub = command("quickstart", commands.quickstart, "the whole flow on the embedded world")
    sub.add_argument("--out", type=Path, default=Path("quickstart"))
    sub.add_argument("--full", action="store_true", help="more data and steps, for the best accuracy")
    sub.add_argument("--small-llm", choices=["demo", "smollm2"], default="demo")
    sub.add_argument("--seed", type=int, default=0)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point. Exits with status 2 and one line for bad input."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger("revision_plugin").setLevel(logging.INFO)
    arguments = build_parser().parse_args(argv)
    with one_line(interrupted="repeat the command to resume"):
        if getattr(arguments, "trust_remote_code", False):
            from ..encoders import allow_remote_code

            allow_remote_code()
        arguments.run(arguments)


if __name__ == "__main__":
    main()
