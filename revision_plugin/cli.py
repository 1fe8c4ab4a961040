"""The `revision` command: parses, calls, prints."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from .errors import RevisionError


def _encode(a) -> None:
    from . import encode
    from .encoders import load_encoder

    encoder = load_encoder(a.encoder).to(device=a.device)
    if a.texts:
        store = encode.encode_texts(
            encoder, a.texts, a.out, dtype=a.dtype, batch_size=a.batch_size, max_failures=a.max_failures
        )
    else:
        store = encode.encode_images(
            encoder, a.images, a.out, image_folder=a.image_folder, dtype=a.dtype, batch_size=a.batch_size, max_failures=a.max_failures
        )  # fmt: skip
    print(f"{a.out}: {len(store)} {store.manifest.modality} embeddings of dimension {store.dim}")


def _fit(a) -> None:
    from .aligners import ALIGNERS
    from .files import require_free
    from .store import Store

    method = ALIGNERS.get(a.method)
    require_free(a.out)
    aligner = method.fit(Store.open(a.source), Store.open(a.target), seed=a.seed, **_options(a.option))
    aligner.save(a.out)
    record = aligner.record
    print(
        f"{a.out}: {a.method} fitted on {record['source']['count']} source and {record['target']['count']} target rows; "
        f"centroid gap {record['centroid_gap_before']:.4g} -> {record['centroid_gap']:.4g}, "
        f"trace {record['source']['trace']:.4f} -> {record['aligned_trace']:.4f} (target {record['target']['trace']:.4f})"
    )


def _options(pairs: list[str]) -> dict:
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise RevisionError(f"--option {pair}: write NAME=VALUE")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options


def _apply(a) -> None:
    from .aligners import load_aligner
    from .apply import apply_aligner
    from .store import Store

    store = apply_aligner(load_aligner(a.aligner), Store.open(a.source), a.out, dtype=a.dtype)
    print(f"{a.out}: {len(store)} aligned embeddings of dimension {store.dim}")


def _convert(a) -> None:
    from .convert import convert

    store = convert(
        a.source, a.out, modality=a.modality, encoder=a.encoder, texts=a.texts, dtype=a.dtype, max_failures=a.max_failures
    )  # fmt: skip
    print(f"{a.out}: {len(store)} {a.modality} embeddings of dimension {store.dim}")


def _inspect(a) -> None:
    from .inspect import inspect_path

    report = inspect_path(a.path)
    print(json.dumps(report, indent=1) if a.json else "\n".join(f"{k}: {v}" for k, v in report.items()))


def _doctor(a) -> None:
    from .inspect import doctor

    problems = doctor(print)
    if problems:
        raise RevisionError("; ".join(problems))


def _ask(a) -> None:
    from .hosts import find_host
    from .inputs import open_image

    questions = a.question or ([line.strip() for line in sys.stdin if line.strip()] if a.stdin else [None])
    pairs = [(path, question) for path in a.image for question in questions]
    images = [open_image(path) for path, _ in pairs]
    assistant = find_host().load(str(a.model), base=a.base, device=a.device)
    answers = assistant.ask(images, [question for _, question in pairs], max_new_tokens=a.max_new_tokens)
    for (path, question), answer in zip(pairs, answers):
        if a.json:
            print(json.dumps({"image": str(path), "question": question, "answer": answer}, ensure_ascii=False))
        else:
            print(
                f"{path}: {question} {answer}"
                if len(pairs) > 1 and question
                else f"{path}: {answer}"
                if len(pairs) > 1
                else answer
            )


def _quickstart(a) -> None:
    from .demo.quickstart import quickstart

    report = quickstart(a.out, full=a.full, small_llm=a.small_llm, seed=a.seed)
    print(f"report: {report}")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="revision", description="Text-only pretraining for LLaVA through modality-gap alignment."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = command("encode", _encode, "encode texts or images into an embedding store")
    sub.add_argument("--encoder", required=True, help="demo, open_clip:ARCH/PRETRAINED, hf:REPO or a local folder")
    source = sub.add_mutually_exclusive_group(required=True)
    source.add_argument("--texts", type=Path, help="LLaVA JSON, JSONL, TXT or parquet")
    source.add_argument("--images", type=Path, help="a folder, or a LLaVA JSON with --image-folder")
    sub.add_argument("--image-folder", type=Path)
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument("--dtype", choices=["float16", "float32"], default="float16")
    sub.add_argument("--batch-size", type=int, default=64)
    sub.add_argument("--device", default="cpu")
    sub.add_argument("--max-failures", type=int, default=0, help="unusable items to tolerate; they are listed")

    sub = command("fit", _fit, "fit an aligner on unpaired stores")
    sub.add_argument("--source", type=Path, required=True, help="text store")
    sub.add_argument("--target", type=Path, required=True, help="image store")
    sub.add_argument("--method", default="realign")
    sub.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--out", type=Path, required=True)

    sub = command("apply", _apply, "align a text store")
    sub.add_argument("--aligner", type=Path, required=True)
    sub.add_argument("--source", type=Path, required=True)
    sub.add_argument("--dtype", choices=["float16", "float32"])
    sub.add_argument("--out", type=Path, required=True)

    sub = command("convert", _convert, "bring features made elsewhere into an embedding store")
    sub.add_argument(
        "source", type=Path, help=".pkl (file or folder of parts), clip-retrieval folder, .npy or .parquet"
    )
    sub.add_argument("--modality", choices=["text", "image"], required=True)
    sub.add_argument("--encoder", required=True, help="the spec they were made with, or external:NAME")
    sub.add_argument("--texts", type=Path, help="the texts of a .npy file, in its order")
    sub.add_argument("--dtype", choices=["float16", "float32"], default="float16")
    sub.add_argument("--max-failures", type=int, default=0)
    sub.add_argument("--out", type=Path, required=True)

    sub = command("inspect", _inspect, "what a store, aligner or checkpoint is, and whether it is whole")
    sub.add_argument("path", type=Path)
    sub.add_argument("--json", action="store_true")

    command("doctor", _doctor, "versions, the host found and what would be bound in it")

    sub = command("ask", _ask, "ask a trained checkpoint about images")
    sub.add_argument("--model", type=Path, required=True)
    sub.add_argument("--base", help="the language model of a Stage-1 checkpoint")
    sub.add_argument("--image", type=Path, action="append", required=True, help="may be repeated")
    sub.add_argument("question", nargs="*")
    sub.add_argument("--stdin", action="store_true", help="read one question a line")
    sub.add_argument("--device", default="cpu")
    sub.add_argument("--max-new-tokens", type=int, default=64)
    sub.add_argument("--json", action="store_true", help="one JSON object a line")

    sub = command("quickstart", _quickstart, "the whole flow on the embedded world")
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
    try:
        arguments.run(arguments)
    except RevisionError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("error: interrupted; repeat the command to resume", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
