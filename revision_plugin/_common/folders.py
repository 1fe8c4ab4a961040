"""Folders that commands write: claimed by one run that can be resumed, or made whole in one step."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from ..errors import RevisionError
from .files import read_object, sync, usual_mode, write_json

LOCK = ".lock"
_HELD: set[Path] = set()  # the folders that this process holds


def changed_keys(before: dict, now: dict) -> list[str]:
    """The names under which two requests differ."""
    return sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))


class ClaimedFolder:
    """A folder that one run fills: locked against other processes, and bound to the run's `request`.

    `request` is JSON and names everything the result depends on; it is kept in the file `mark`. A stopped run of the
    same request may go on in the folder. `differences(before, now)` names what has changed since. `flag` is the
    command-line flag that the folder came from. `shared` folders may hold files of others. The lock is a record lock,
    which processes forked for data loading do not inherit: it ends with this process, or with `close`.

    Raises RevisionError where another process holds the folder, or it holds foreign files or a run of another request.
    """

    def __init__(
        self,
        folder: Path,
        mark: str,
        request: dict,
        *,
        flag: str = "--out",
        shared: bool = False,
        differences: Callable[[dict, dict], list[str]] = changed_keys,
    ):
        self.folder = folder
        request = json.loads(json.dumps(request))
        self._place = folder.resolve()
        if self._place in _HELD:  # a record lock would let this process in, and closing it would free the folder
            raise RevisionError(f"{folder}: this process already writes here; choose another {flag}")
        try:
            # what a kill while the mark was written left is no foreign file
            present = list(folder.iterdir()) if folder.exists() else []
            foreign = [p for p in present if p.name != LOCK and not p.name.startswith(f".{mark}.")]
            if foreign and not shared and not (folder / mark).exists():
                raise RevisionError(f"{folder}: already exists and is not empty; choose another {flag}")
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise RevisionError(f"{folder}: cannot be created: {error.strerror}; choose another {flag}") from None
        _HELD.add(self._place)
        try:
            self._hold(flag)
            self._compare(mark, request, flag, differences)
            write_json(folder / mark, request)
        except OSError as error:
            self.close()
            raise RevisionError(f"{folder}: cannot be written: {error.strerror}; make room and repeat") from None
        except BaseException:
            self.close()
            raise

    def _hold(self, flag: str) -> None:
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            raise RevisionError(
                f"{self.folder}: another process ({holder or 'unknown'}) still writes here; "
                f"wait for it, end it, or choose another {flag}"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def _compare(self, mark: str, request: dict, flag: str, differences: Callable[[dict, dict], list[str]]) -> None:
        path = self.folder / mark
        changed = differences(read_object(path), request) if path.exists() else []
        if changed:
            raise RevisionError(
                f"{self.folder}: holds a stopped run with another {', '.join(changed)}; "
                f"repeat its command to resume it, delete it, or choose another {flag}"
            )

    def close(self) -> None:
        """Let other processes in."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
            _HELD.discard(self._place)

    def __enter__(self) -> ClaimedFolder:
        return self

    def __exit__(self, *exception) -> None:
        self.close()


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` on success and vanishes on failure.

    Raises RevisionError where `path` exists and is not empty, cannot be created, or cannot be written to the end.
    """
    require_free(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise RevisionError(f"{path}: cannot be created: {error.strerror}; choose another --out") from None
    try:
        yield temporary
        usual_mode(temporary)
        for file in temporary.rglob("*"):
            sync(file)
        if path.exists():
            path.rmdir()
        os.replace(temporary, path)
        sync(path.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise RevisionError(f"{path}: cannot be written: {reason}; nothing was kept, make room and repeat") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def require_free(path: Path) -> None:
    """Raise RevisionError unless `path` does not exist or is an empty folder, and has a name to be written under."""
    if not path.name or path.name == ".." or "\0" in str(path):
        raise RevisionError(f"{path}: is no name for a new folder; choose another --out")
    if path.is_symlink():
        raise RevisionError(f"{path}: is a link; give the folder it leads to, or choose another --out")
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise RevisionError(f"{path}: already exists; choose another --out or delete it")
