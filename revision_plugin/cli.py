"""The `revision` command: parses, calls, prints."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from .errors import RevisionError, one_line
from .files import require_free


def _encode(a) -> None:
    from . import distributed, encode
    from .encoders import load_encoder

    encoder = load_encoder(a.encoder)
    distributed.start()
    encoder.to(device=distributed.own_device(a.device), dtype=_torch_dtype(a.precision))
    settings = dict(dtype=a.dtype, batch_size=a.batch_size, max_failures=a.max_failures, precision=a.precision)
    if a.texts:
        store = encode.encode_texts(encoder, a.texts, a.out, **settings)
    else:
        store = encode.encode_images(encoder, a.images, a.out, image_folder=a.image_folder, **settings)
    if distributed.rank() == 0:
        print(f"{a.out}: {len(store)} {store.manifest.modality} embeddings of dimension {store.dim}")
    distributed.stop()


def _torch_dtype(precision: str | None):
    import torch

    return {None: None, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _trust(sub: argparse.ArgumentParser) -> None:
    text = "run code that the encoder's model brings; read it first"
    sub.add_argument("--trust-remote-code", action="store_true", help=text)


def _fit(a) -> None:
    from . import distributed
    from .aligners import ALIGNERS, load_aligner
    from .store import Store

    require_free(a.out)
    settings = dict(seed=a.seed, held_out=a.held_out, device=a.device)
    if a.refit_source:
        if a.method or a.option:
            raise RevisionError("--refit-source keeps the method and options of its aligner; leave out yours")
        aligner, source = load_aligner(a.refit_source), Store.open(a.source)
        distributed.start()
        aligner = aligner.refit_source(source, **settings)
    else:
        method, options = ALIGNERS.get(a.method or "realign"), _options(a.option)
        source, target = Store.open(a.source), Store.open(a.target)
        distributed.start()
        aligner = method.fit(source, target, **settings, **options)
    if distributed.rank() == 0:
        aligner.save(a.out)
        print(f"{a.out}: {aligner.summary()}")
    distributed.stop()


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

    aligner, source = load_aligner(a.aligner), Store.open(a.source)
    store = apply_aligner(aligner, source, a.out, dtype=a.dtype)
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


def _evaluate(a) -> None:
    from .evaluation import run, table

    scored = run.evaluate(
        a.model, a.tasks.split(","), a.out, base=a.base, data_root=a.data_root, blind=a.blind, limit=a.limit,
        batch_size=a.batch_size, device=a.device, processes=a.processes, trust_remote_code=a.trust_remote_code,
    )  # fmt: skip
    if table.BENCHMARKS.keys() & {name.removeprefix("revision_") for name in scored}:
        print(table.markdown([table.read_row(a.out)]))
    else:
        for name, accuracy in scored.items():
            print(f"{name}: accuracy {accuracy:.4f}")


def _geometry(a) -> None:
    from .aligners import load_aligner
    from .geometry.measure import measure
    from .geometry.report import write_report
    from .store import Store

    require_free(a.out)
    aligners = {}
    for path in a.aligner:
        if path.name in aligners:
            raise RevisionError(f"--aligner {path}: another one is called '{path.name}' too; rename one folder")
        aligners[path.name] = load_aligner(path)
    stores = Store.open(a.source), Store.open(a.target)
    found = measure(*stores, aligners, pairs=a.pairs, rows=a.rows, energy=a.energy, seed=a.seed)
    report = write_report(found, a.out)
    for name in found.methods:
        gap = found.metrics[name]["centroid_gap"]
        print(f"{name}: centroid gap {gap:.4g}")
    print(f"report: {report}")


def _table(a) -> None:
    from .evaluation import table

    rows = [table.read_row(folder) for folder in a.results]
    names = {row.name: row for row in rows}
    for pair in a.cost:
        name, _, value = pair.partition("=")
        if name not in names:
            raise RevisionError(f"--cost {pair}: no row '{name}'; there are {', '.join(names)}")
        names[name].relative_cost = table.read_cost(value)
    rows = [*(table.published_rows() if a.published else []), *rows]
    print(table.markdown(rows))
    if a.out:
        table.write_table(rows, a.out)


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

    sub = command("encode", _encode, "encode texts or images into an embedding store (torchrun shares the work)")
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

    sub = command("fit", _fit, "fit an aligner on unpaired stores (torchrun shares the work)")
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
    _trust(sub)

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
    _trust(sub)

    sub = command("evaluate", _evaluate, "score a checkpoint through lmms-eval")
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
        "geometry", _geometry, "how large the modality gap is, what shape it has, what each aligner makes of it"
    )
    sub.add_argument("--source", type=Path, required=True, help="text store")
    sub.add_argument("--target", type=Path, required=True, help="image store")
    sub.add_argument("--pairs", action="store_true", help="rows of equal id are pairs: measure those too")
    sub.add_argument("--aligner", type=Path, nargs="+", default=[], help="fitted aligners to compare")
    sub.add_argument("--rows", type=int, default=10000, help="sample a store for neighbours and densities")
    sub.add_argument("--energy", type=float, default=0.9, help="share of the variance that the subspace U holds")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--out", type=Path, required=True)

    sub = command("table", _table, "the eleven-benchmark table from lmms-eval results")
    sub.add_argument("results", type=Path, nargs="+", help="folders with *_results.json, a row each")
    sub.add_argument("--published", action="store_true", help="the papers' rows above ours")
    sub.add_argument(
        "--cost", action="append", default=[], metavar="ROW=FILE", help="what scripts/cost.py wrote for a row"
    )
    sub.add_argument("--out", type=Path, help="also write OUT.md, OUT.csv and OUT.json")

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
    with one_line(interrupted="repeat the command to resume"):
        if getattr(arguments, "trust_remote_code", False):
            from .encoders import allow_remote_code

            allow_remote_code()
        arguments.run(arguments)


if __name__ == "__main__":
    main()
