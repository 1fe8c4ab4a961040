"""Whether a store still holds what its hashes say, found out by a process of its own beside other work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .._common.processes import module_path, start_child
from ..errors import ERROR, RevisionError, one_line
from .store import Store


class BackgroundVerification:
    """`Store.verify(part, parts)` of the store in the folder `path`, in another process, which ends with this one."""

    def __init__(self, path: Path, part: int, parts: int):
        self.path = path
        self._process = start_child(
            [sys.executable, "-P", "-m", __name__, str(path), str(part), str(parts)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": module_path()},
        )

    @property
    def is_running(self) -> bool:
        """Whether `result` would wait."""
        return self._process.poll() is None

    def result(self) -> None:
        """Wait for the end. Raises RevisionError for a store whose rows are not those of its hashes, and where the
        process was killed.
        """
        lines = self._process.communicate()[1].decode(errors="replace").strip().splitlines()
        if self._process.returncode:
            line = lines[-1] if lines else ""
            if not line.startswith(ERROR):
                line = f"{self.path}: its verification ended with status {self._process.returncode} {line}".rstrip()
            raise RevisionError(line.removeprefix(ERROR))


def main(path: str, part: str, parts: str) -> None:
    with one_line():
        Store.open(path).verify(int(part), int(parts))


if __name__ == "__main__":
    main(*sys.argv[1:])
