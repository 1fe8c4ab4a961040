"""lmms-eval's command line without its own task index, which takes longer to read than a small run takes to score.

`python -m revision_plugin.evaluation.lmms <lmms-eval flags>`: the tasks under `--include_path` are all there are.
Started by `revision evaluate`, it takes paths from the environment: lmms-eval splits its own arguments at commas.
"""

from __future__ import annotations

import functools
from typing import Any

import lmms_eval.__main__ as command
from lmms_eval import evaluator

from revision_plugin._common.library_noise import quiet_libraries
from revision_plugin._common.verbosity import verbosity
from revision_plugin.evaluation.run_environment import run_settings
from revision_plugin.evaluation.shown_output import show_notes

WHOLE_EVALUATE = evaluator.evaluate


class Tracker(command.EvaluationTracker):
    """Writes where `revision evaluate` says, and how many rows were scored: lmms-eval's own number knows no offset.
    Writing leaves the samples as they are, which lmms-eval needs afterwards.
    """

    def __init__(self, **keywords: Any):
        settings = run_settings()
        super().__init__(**{**keywords, **({"output_path": settings["output"]} if settings is not None else {})})

    def save_results_aggregated(self, results: dict, samples: dict | None, datetime_str: str) -> None:
        for task, rows in (samples or {}).items():
            results["n-samples"][task]["effective"] = len(rows)
        super().save_results_aggregated(results=results, samples=samples, datetime_str=datetime_str)

    def save_results_samples(self, task_name: str, samples: list[dict]) -> None:
        super().save_results_samples(task_name=task_name, samples=[dict(sample) for sample in samples])
        for sample in samples:  # that go to Weights & Biases next, which reads a list in each list
            sample["arguments"], sample["resps"] = [sample["arguments"]], [sample["resps"]]


def evaluate(*, limit: float | None = None, **keywords: Any) -> dict | None:
    """lmms-eval's `evaluate`; a share as `limit` is of each task, not the first one's number of rows for
    all of them, as there.
    """
    if limit is not None and 0 < limit < 1:
        size, rows = evaluator.get_sample_size, evaluator.create_iterator
        evaluator.get_sample_size = lambda task, _: size(task, limit)
        # after the answers come, of all rows, those that were asked
        evaluator.create_iterator = lambda *places, limit, **others: rows(*places, **others)
    return WHOLE_EVALUATE(limit=limit, **keywords)


def main() -> None:
    quiet_libraries(verbosity())
    show_notes()
    command.TaskManager = functools.partial(command.TaskManager, include_defaults=False)
    command.EvaluationTracker = Tracker
    evaluator.evaluate = evaluate
    command.cli_evaluate()


if __name__ == "__main__":
    main()
