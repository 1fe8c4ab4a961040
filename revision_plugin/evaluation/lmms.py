"""lmms-eval's command line without its own task index, which takes longer to read than a small run takes to score.

`python -m revision_plugin.evaluation.lmms <lmms-eval flags>`: the tasks under `--include_path` are all there are.
"""

from __future__ import annotations

import functools

import lmms_eval.__main__ as command


def main() -> None:
    command.TaskManager = functools.partial(command.TaskManager, include_defaults=False)
    command.cli_evaluate()


if __name__ == "__main__":
    main()
