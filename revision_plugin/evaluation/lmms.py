"""lmms-eval's command line without its own task index, which takes longer to read than a small run takes to score.

`python -m revision_plugin.evaluation.lmms <lmms-eval flags>`: the tasks under `--include_path` are all there are.
Started by `revision evaluate`, it takes paths from the environment: lmms-eval splits its own arguments at commas.
"""

from __future__ import annotations

import functools

import lmms_eval.__main__ as command

from revision_plugin.evaluation.run_environment import run_settings


def main() -> None:
    command.TaskManager = functools.partial(command.TaskManager, include_defaults=False)
    settings = run_settings()
    if settings is not None:
        tracker = command.EvaluationTracker
        command.EvaluationTracker = lambda **keywords: tracker(**{**keywords, "output_path": settings["output"]})
    command.cli_evaluate()


if __name__ == "__main__":
    main()
