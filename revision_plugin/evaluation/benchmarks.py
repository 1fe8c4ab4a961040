"""The benchmarks: their names, how many rows the papers scored, how a row is read, what its breakdown is.

The one place for these counts. Each was found from the papers: the N for which every printed percentage is k/N.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import RevisionError
from . import right_answers
from .right_answers import Question


@dataclass(frozen=True)
class Benchmark:
    """One benchmark. `read` makes a Question of a row; `rows`: how many the papers scored (None: not known);
    `parts`: the fields by which the score is broken down; `cluster`: the fields that name rows which share an image or
    a question, so that their scores are no independent samples (`shifts`: one question in all orders of its options).
    """

    label: str
    read: Callable[[dict], Question]
    group: str
    rows: int | None = None
    parts: tuple[str, ...] = ()
    cluster: tuple[str, ...] = ()
    note: str = ""


GENERAL, KNOWLEDGE, HALLUCINATION = "General", "Knowledge and reasoning", "Hallucination"
BENCHMARKS = {
    "mme": Benchmark("MME", right_answers.yes_no_question, GENERAL, 2374, ("category",), ("question_id",)),
    "mmstar": Benchmark("MMStar", right_answers.question_with_options, GENERAL, 1500, ("category", "l2_category")),
    "scienceqa": Benchmark("SQA", right_answers.scienceqa_question, GENERAL, 4114, ("subject",)),
    "realworldqa": Benchmark("RWQA", right_answers.realworldqa_question, GENERAL, 765),
    "mmmu": Benchmark("MMMU", right_answers.mmmu_question, KNOWLEDGE, 857, ("subject",)),
    "mmmu_pro": Benchmark(
        "MMMU-Pro",
        right_answers.mmmu_question,
        KNOWLEDGE,
        1592,
        ("subject",),
        note="1594 of the 1730 standard rows refer to one image; which two the papers left out is not known",
    ),
    "visulogic": Benchmark("VisuLogic", right_answers.visulogic_question, KNOWLEDGE, 1000, ("tag",)),
    "logicvista": Benchmark("LogicVista", right_answers.logicvista_question, KNOWLEDGE, 447, ("skill",)),
    "crpe": Benchmark(
        "CRPE",
        right_answers.crpe_question,
        HALLUCINATION,
        7576,
        ("category",),
        ("shifts",),
        note="9 of the papers' 11 printed values are k/7576",
    ),
    "pope": Benchmark("POPE", right_answers.yes_no_question, HALLUCINATION, 9000, ("category",), ("image_source",)),
    "hallusionbench": Benchmark(
        "HallusionBench",
        right_answers.hallusionbench_question,
        HALLUCINATION,
        951,
        ("category", "subcategory"),
        ("category", "subcategory", "set_id"),
    ),
}
VARIANTS = {
    "scienceqa_dev": Benchmark("SQA dev", right_answers.scienceqa_question, GENERAL, 2097, ("subject",)),
    "scienceqa_test": Benchmark("SQA test", right_answers.scienceqa_question, GENERAL, 2017, ("subject",)),
    "mmmu_pro_vision": Benchmark("MMMU-Pro vision", right_answers.mmmu_question, KNOWLEDGE, 1730, ("subject",)),
    "crpe_exist": Benchmark(
        "CRPE existence", right_answers.crpe_exist_question, HALLUCINATION, None, ("category",), ("shifts",)
    ),
    "demo": Benchmark("embedded world", right_answers.demo_question, GENERAL, None, ("kind",), ("scene",)),
}


def benchmark(task: str) -> Benchmark:
    """The benchmark of a task, with or without `revision_` before its name. Raises RevisionError for an unknown one."""
    name = task.removeprefix("revision_")
    found = {**BENCHMARKS, **VARIANTS}.get(name)
    if found is None:
        raise RevisionError(f"no benchmark '{task}'; there are {', '.join([*BENCHMARKS, *VARIANTS])}")
    return found


def score(task: str, row: dict, reply: str) -> float:
    """1.0 where `reply` gives the right answer to `row` (a row of the task's dataset, images aside) and no other, else
    0.0.

    Raises RevisionError for an unknown task and for a row that has no question, no options or no answer.
    """
    return benchmark(task).read(row).score(reply)
