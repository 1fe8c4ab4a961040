"""What lmms-eval calls with a row and its reply: the score, and what the score's breakdown needs to know of the row."""

from __future__ import annotations

import re
from collections.abc import Callable

from .benchmarks import Benchmark, benchmark
from .documents import name_of
from .replies import options_in, yes_or_no
from .right_answers import DIRECTLY, Question

SUBJECT = re.compile(r"[a-z]+_(.+)_\d+")  # MMMU names its subjects in its rows' ids


def scorer(task: str) -> Callable[[dict, list], dict]:
    """A `process_results`: `acc` is 0.0 or 1.0; `clustered` is the same score with what `describe` says of the row,
    which lmms-eval keeps with its samples.
    """
    entry = benchmark(task)

    def process_results(doc: dict, results: list) -> dict:
        question = entry.read(doc)
        reply = str(results[0])
        score = question.score(reply)
        return {"acc": score, "clustered": {"score": score, **describe(entry, doc, question, reply)}}

    return process_results


def clustered_accuracy(rows: list[dict]) -> float:
    """The aggregation of `clustered`: plain accuracy; the clusters matter to its error only."""
    return sum(row["score"] for row in rows) / len(rows)


def describe(entry: Benchmark, doc: dict, question: Question, reply: str) -> dict:
    """The row's name, its parts and its cluster; for yes/no questions also what was said and what is right."""
    described: dict = {"name": name_of(doc), "parts": {part: _part(doc, part) for part in entry.parts}}
    if entry.cluster:
        described["cluster"] = " | ".join(_part(doc, part) for part in entry.cluster)
    if question.kind == "yes_no":
        described |= {"right": question.right[0], "said": yes_or_no(reply, question.asked)}
    for name in ("figure_id", "question_id"):
        if name in doc:
            described[name] = str(doc[name])
    return described


def _part(doc: dict, part: str) -> str:
    if part == "shifts":
        text = str(doc.get("text", doc.get("question", ""))).replace(DIRECTLY, "").strip()
        options = options_in(text)
        return " | ".join([text.splitlines()[0] if text else "", *sorted(options.values())])
    if part == "scene":
        return str(doc.get("id", "")).partition("-")[0]  # the embedded world asks several questions of a scene
    if part == "subject" and not doc.get("subject"):
        named = SUBJECT.fullmatch(str(doc.get("id", "")))
        return named.group(1) if named else ""
    value = doc.get(part, "")
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


mme_score = scorer("mme")
mmstar_score = scorer("mmstar")
scienceqa_score = scorer("scienceqa")
realworldqa_score = scorer("realworldqa")
mmmu_score = scorer("mmmu")
mmmu_pro_score = scorer("mmmu_pro")
visulogic_score = scorer("visulogic")
logicvista_score = scorer("logicvista")
crpe_score = scorer("crpe")
crpe_exist_score = scorer("crpe_exist")
pope_score = scorer("pope")
hallusionbench_score = scorer("hallusionbench")
demo_score = scorer("demo")
