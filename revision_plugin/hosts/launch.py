"""Starts training: installs the plugin in the host and hands it the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import one_line
from . import find_host


def main(arguments: Sequence[str] | None = None) -> None:
    """What `scripts/train.py` runs under python, torchrun or deepspeed. Exits with status 2 on a RevisionError."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with one_line(interrupted="repeat the command to resume"):
        find_host().train(arguments)


def install(host: str | None = None) -> None:
    """Install the plugin in `host` in this process, so that the host's own functions know our checkpoints."""
    find_host(host).install()


if __name__ == "__main__":
    main()
