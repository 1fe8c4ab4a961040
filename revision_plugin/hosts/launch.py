"""Starts training: installs the plugin in the host and hands it the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import RevisionError, one_line
from . import find_host

HOST_FLAG = "--host"


def main(arguments: Sequence[str] | None = None) -> None:
    """What `scripts/train.py` runs under python, torchrun or deepspeed. Exits with status 2 on a RevisionError.

    `--host NAME` chooses among several installed hosts, or `hf`; all other flags are the host's and the plugin's.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with one_line(interrupted="repeat the command to resume"):
        find_host(_take_host(words)).train(words)


def _take_host(words: list[str]) -> str | None:
    """Remove `--host NAME` from `words` and return the name."""
    for index, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag == HOST_FLAG:
            name = words[index + 1 : index + 2] if not equals else [value]
            if not name or not name[0]:
                raise RevisionError(f"{HOST_FLAG} needs the name of a host")
            del words[index : index + (1 if equals else 2)]
            return name[0]
    return None


def install(host: str | None = None) -> None:
    """Install the plugin in `host` in this process, so that the host's own functions know our checkpoints."""
    find_host(host).install()


if __name__ == "__main__":
    main()
