"""What each `revision` command does, given its parsed arguments: calls, and prints what came of it."""

from __future__ import annotations

import json
import sys

from .._common.files import require_free
from ..errors import RevisionError


def encode(a) -> None:
    from .._common import distributed
    from ..embeddings import encode
    from ..encoders import load_encoder

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


def fit(a) -> None:
    from .._common import distributed
    from ..aligners import ALIGNERS, load_aligner
    from ..embeddings.store import Store

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


def apply(a) -> None:
    from ..aligners import load_aligner
    from ..aligners.apply import apply_aligner
    from ..embeddings.store import Store

    aligner, source = load_aligner(a.aligner), Store.open(a.source)
    store = apply_aligner(aligner, source, a.out, dtype=a.dtype)
    print(f"{a.out}: {len(store)} aligned embeddings of dimension {store.dim}")


def convert(a) -> None:
    from ..embeddings.convert import convert

    store = convert(
        a.source, a.out, modality=a.modality, encoder=a.encoder, texts=a.texts, dtype=a.dtype, max_failures=a.max_failures
    )  # fmt: skip
    print(f"{a.out}: {len(store)} {a.modality} embeddings of dimension {store.dim}")


def inspect(a) -> None:
    from .inspect import inspect_path

    report = inspect_path(a.path)
    print(json.dumps(report, indent=1) if a.json else "\n".join(f"{k}: {v}" for k, v in report.items()))


def doctor(a) -> None:
    from .inspect import doctor

    problems = doctor(print)
    if problems:
        raise RevisionError("; ".join(problems))


def ask(a) -> None:
    from ..corpora.texts import open_image
    from ..hosts import find_host

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


def evaluate(a) -> None:
    from ..evaluation import run, table

    scored = run.evaluate(
        a.model, a.tasks.split(","), a.out, base=a.base, data_root=a.data_root, blind=a.blind, limit=a.limit,
        batch_size=a.batch_size, device=a.device, processes=a.processes, trust_remote_code=a.trust_remote_code,
    )  # fmt: skip
    if table.BENCHMARKS.keys() & {name.removeprefix("revision_") for name in scored}:
        print(table.markdown([table.read_row(a.out)]))
    else:
        for name, accuracy in scored.items():
            print(f"{name}: accuracy {accuracy:.4f}")


def geometry(a) -> None:
    from ..aligners import load_aligner
    from ..embeddings.store import Store
    from ..geometry.measure import measure
    from ..geometry.report import write_report

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


def table(a) -> None:
    from ..evaluation import table

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


def quickstart(a) -> None:
    from ..demo.quickstart import quickstart

    report = quickstart(a.out, full=a.full, small_llm=a.small_llm, seed=a.seed)
    print(f"report: {report}")
