"""`revision ask`: questions about images, to a trained checkpoint."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
from pathlib import Path

from .._common.devices import choose_device
from ..corpora.pixels import open_image
from ..corpora.texts import text_problem
from ..errors import RevisionError, shown
from ..hosts import find_host
from .arguments import add_consent, add_device, use_consent, whole

logger = logging.getLogger(__name__)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--base", help="the language model of a Stage-1 or LoRA checkpoint")
    parser.add_argument("--image", type=Path, action="append", default=[], required=True, help="may be repeated")
    parser.add_argument("question", nargs="*")
    parser.add_argument("--stdin", action="store_true", help="read one question a line")
    parser.add_argument("--max-new-tokens", type=whole(1), default=64)
    parser.add_argument("--batch-size", type=whole(1), default=8, help="questions at a time")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    add_device(parser)
    add_consent(parser)


def run(a: argparse.Namespace) -> None:
    use_consent(a)
    questions = a.question or (_read_questions() if a.stdin else [None])
    problems = [f"the question '{each[:60]}' {text_problem(each)}" for each in questions if each and text_problem(each)]
    if problems:
        raise RevisionError(problems[0])
    images = {path: open_image(path) for path in a.image}  # each once, however many questions
    device = choose_device(a.device)
    assistant = find_host(model=a.model).load(str(a.model), base=a.base, device=str(device))
    logger.info("answering on %s", device)
    pairs = list(itertools.product(a.image, questions))
    for start in range(0, len(pairs), a.batch_size):
        batch = pairs[start : start + a.batch_size]
        batch_questions = [question for _, question in batch]
        answers = assistant.ask([images[path] for path, _ in batch], batch_questions, max_new_tokens=a.max_new_tokens)
        for (path, question), answer in zip(batch, answers, strict=True):
            print(_line(path, question, answer, as_json=a.json, alone=len(pairs) == 1), flush=True)


def _read_questions() -> list[str]:
    try:
        lines = sys.stdin.readlines()
    except UnicodeDecodeError:
        raise RevisionError("--stdin: what came is not UTF-8") from None
    questions = [line.strip() for line in lines if line.strip()]
    if not questions:
        raise RevisionError("--stdin: no question came; write one a line")
    return questions


def _line(path: Path, question: str | None, answer: str, *, as_json: bool, alone: bool) -> str:
    if as_json:
        return json.dumps({"image": str(path), "question": question, "answer": answer}, ensure_ascii=False)
    if alone:
        return answer
    return f"{shown(path)}: {shown(question)} {answer}" if question else f"{shown(path)}: {answer}"
