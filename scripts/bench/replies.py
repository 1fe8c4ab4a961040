"""Scores raw replies that benchmarks published, beside their official extraction and the parsers of lmms-eval and
VLMEvalKit. The replies are read from checkouts of the benchmarks' repositories; none is kept here.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest import mock

import pandas
from lmms_eval.tasks._task_utils.mcq_extract import extract_mcq_answer
from lmms_eval.tasks.mmmu import utils

from revision_plugin.evaluation.benchmarks import benchmark
from revision_plugin.evaluation.right_answers import Question, lettered, listed


@dataclass
class Reply:
    """One published reply, to a row of `task`. `official`: whether its publisher's extraction calls it right; None
    where nothing is published.
    """

    task: str
    row: dict
    text: str
    official: bool | None


def logicvista(root: Path) -> Iterator[tuple[str, list[Reply]]]:
    """Several models' replies with GPT-4's extraction of the letters."""
    rows = json.loads((root / "data" / "dataset.json").read_text(encoding="utf-8"))
    for path in sorted((root / "eval" / "results").glob("*-accuracy-results.csv")):
        model = path.name.removesuffix("-accuracy-results.csv")
        replies = []
        with open(path, encoding="utf-8", newline="") as lines:
            for line in csv.DictReader(lines):
                row = {"id": line["id"], **{key: rows[line["id"]][key] for key in ("question", "answer")}}
                if row["answer"]:  # one row of the benchmark is empty
                    replies.append(Reply("logicvista", row, line[f"{model} answer raw"], line["match?"] == "1"))
        yield f"LogicVista {model}", replies


def mmmu(root: Path) -> Iterator[tuple[str, list[Reply]]]:
    """Replies to MMMU's and MMMU-Pro's rows. The official extraction draws at random where it finds nothing: these
    replies are compared with nothing.
    """
    for folder in sorted(path.parent for path in (root / "mmmu" / "example_outputs").glob("*/total_val_output.json")):
        extracted = json.loads((folder / "total_val_output.json").read_text(encoding="utf-8"))
        replies = []
        for path in sorted(folder.glob("*/output.json")):
            for line in json.loads(path.read_text(encoding="utf-8")):
                choices = list((line.get("index2ans") or {}).values())
                row = {key: line[key] for key in ("id", "question_type", "answer")} | {"options": choices}
                said = extracted.get(line["id"])
                drawn = choices and is_drawn(line["response"], line["index2ans"])
                official = said == line["answer"] if choices and not drawn else None
                replies.append(Reply("mmmu", row, line["response"], official))
        yield f"MMMU {folder.name}", replies
    for path in sorted((root / "mmmu-pro" / "output").glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        replies = []
        for line in lines:
            text = str(line["response"])
            right = None if is_drawn(text, lettered(listed(line["options"]))) else str(line["if_right"]) == "True"
            replies.append(Reply("mmmu_pro", line, text, right))
        yield f"MMMU-Pro {path.stem}", replies


def is_drawn(text: str, options: dict[str, str]) -> bool:
    """Whether MMMU's extraction finds nothing in a reply and draws an option."""
    return "Answer:" not in text and extract_mmmu(text, options) == ""


def extract_mmmu(text: str, options: dict[str, str]) -> str:
    """What MMMU's rules find in a reply, as lmms-eval has them; empty where they would draw an option."""
    with mock.patch("random.choice", return_value=""):
        return utils.parse_multi_choice_response(text, list(options), options)


def hallusionbench(root: Path) -> Iterator[tuple[str, list[Reply]]]:
    """GPT-4V's replies; their judgement is not published."""
    keys = ("category", "question")  # the numbers of sets and figures have changed since
    rows = json.loads((root / "HallusionBench.json").read_text(encoding="utf-8"))
    answers = {tuple(str(row[key]) for key in keys): row["gt_answer"] for row in rows}
    lines = json.loads((root / "HallusionBench_result_sample.json").read_text(encoding="utf-8"))
    replies, lost = [], 0
    for line in lines:
        gold = answers.get(tuple(str(line[key]) for key in keys))
        if gold is None:
            lost += 1
            continue
        replies.append(Reply("hallusionbench", {**line, "gt_answer": gold}, line["model_prediction"], None))
    if lost:
        print(f"{lost} of {len(lines)} replies to HallusionBench are to rows that the benchmark no longer has")
    yield "HallusionBench GPT-4V", replies


def mmstar(root: Path) -> Iterator[tuple[str, list[Reply]]]:
    """LLaVA-NeXT-34B's replies."""
    table = pandas.read_excel(root / "eval" / "submits" / "llava_next_yi_34b_MMStar.xlsx", dtype=str)
    replies = [Reply("mmstar", row, str(row["prediction"]), None) for row in table.to_dict("records")]
    yield "MMStar LLaVA-NeXT-34B", replies


def lmms_eval_score(question: Question, reply: Reply) -> float:
    """What lmms-eval's own parsers make of it: MMMU's (no answer where it would draw one), or its letter extraction."""
    if question.kind == "yes_no":
        return float(("yes" if "yes" in reply.text.lower() else "no") in question.right)
    if question.kind == "words":
        return float(utils.eval_open(list(question.right), utils.parse_open_response(reply.text)))
    letters = list(question.letters)
    if reply.task.startswith("mmmu"):
        return float(extract_mmmu(reply.text, question.options) in question.right)
    return float(extract_mcq_answer(reply.text, choices=letters) == "".join(question.right))


def vlmevalkit_score(matching: ModuleType, question: Question, reply: Reply) -> float | None:
    """What VLMEvalKit makes of it without a judge; None for kinds that it only judges."""
    if question.kind == "words":
        return None
    if question.kind == "yes_no":
        words = set(reply.text.lower().replace(",", " ").replace(".", " ").split())
        said = "yes" if "yes" in words and "no" not in words else "no" if "no" in words and "yes" not in words else None
        return float(said in question.right)
    texts = {letter: question.options.get(letter, letter) for letter in question.letters}
    return float(matching.can_infer(reply.text, texts) == "".join(question.right))


def load_matching(checkout: Path) -> ModuleType:
    """VLMEvalKit's module of matching rules, without the rest of it."""
    path = checkout / "vlmeval" / "utils" / "matching_util.py"
    source = path.read_text(encoding="utf-8").replace(
        "from vlmeval.smp.log import get_logger", "from logging import getLogger as get_logger"
    )
    spec = importlib.util.spec_from_loader("matching_util", loader=None)
    module = importlib.util.module_from_spec(spec)
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


def compare(name: str, replies: list[Reply], parsers: dict[str, Callable], show: int) -> None:
    """One line a parser: how many are right, and against the official extraction agreement and both kinds of error."""
    scored: dict[str, list] = {key: [] for key in parsers}
    for reply in replies:
        question = benchmark(reply.task).read(reply.row)
        for key, parser in parsers.items():
            scored[key].append(parser(question, reply))
    official = [reply.official for reply in replies]
    known = [n for n, each in enumerate(official) if each is not None]
    print(
        f"\n{name}: {len(replies)} replies"
        + (f", official {sum(bool(official[n]) for n in known)} right of {len(known)}" if known else "")
    )
    for key, values in scored.items():
        have = [n for n in range(len(replies)) if values[n] is not None]
        line = f"  {key:11s} {sum(values[n] for n in have):6.0f} right of {len(have)}"
        both = [n for n in known if values[n] is not None]
        if both:
            more = [n for n in both if values[n] and not official[n]]
            less = [n for n in both if official[n] and not values[n]]
            agreed = 100 * (1 - (len(more) + len(less)) / len(both))
            line += f"; agrees on {agreed:.2f} %, right only here {len(more)}, right only officially {len(less)}"
            if key == "ours" and show:
                for n in [*more[:show], *less[:show]]:
                    print(
                        "    ",
                        "only here" if n in more else "only official",
                        json.dumps(replies[n].row, ensure_ascii=False)[:300],
                        "|",
                        replies[n].text[-300:].replace("\n", "\\n"),
                    )
        print(line)


READERS = {"logicvista": logicvista, "mmmu": mmmu, "hallusionbench": hallusionbench, "mmstar": mmstar}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in READERS:
        parser.add_argument(f"--{name}", type=Path, help="a checkout of its repository")
    parser.add_argument("--vlmevalkit", type=Path, help="a checkout, to compare with its rules")
    parser.add_argument("--show", type=int, default=0, help="print so many replies of each kind of disagreement")
    a = parser.parse_args()
    parsers: dict[str, Callable] = {
        "ours": lambda question, reply: question.score(reply.text),
        "lmms-eval": lmms_eval_score,
    }
    if a.vlmevalkit:
        matching = load_matching(a.vlmevalkit)
        parsers["VLMEvalKit"] = lambda question, reply: vlmevalkit_score(matching, question, reply)
    chosen = {name: getattr(a, name) for name in READERS if getattr(a, name)}
    if not chosen:
        sys.exit("error: no checkout is given; see --help")
    for name, root in chosen.items():
        for label, replies in READERS[name](root):
            compare(label, replies, parsers, a.show)


if __name__ == "__main__":
    main()
