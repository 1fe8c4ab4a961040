"""Atomic writes, content hashes and JSON reading with clear errors."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import RevisionError


def write_json(path: Path, value: Any) -> None:
    """Write `value` so that `path` holds either its old content or all of the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8") as handle:
        json.dump(value, handle, indent=1, ensure_ascii=False)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def claim_folder(out: Path, mark: str, settings: dict, other: str) -> None:
    """Make `out` the folder of one run: a stopped run of the same `settings`, kept in the file `mark`, may go on in it.

    Raises RevisionError where it holds `other` (a run of other settings, and what to do) or foreign files.
    """
    kept = out / mark
    if kept.exists() and read_json(kept) != settings:
        raise RevisionError(f"{out}: holds {other}")
    if not kept.exists() and out.exists() and any(out.iterdir()):
        raise RevisionError(f"{out}: already exists and is not empty; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_json(kept, settings)


def read_json(path: Path) -> Any:
    """Parsed JSON. Raises RevisionError for a missing, cut or badly encoded file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RevisionError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise RevisionError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise RevisionError(f"{path}: not valid JSON at line {error.lineno}: {error.msg}") from None
    except OSError as error:
        raise RevisionError(f"{path}: cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` on success and vanishes on failure.

    Raises RevisionError where `path` exists and is not empty, cannot be created, or cannot be written to the end.
    """
    from safetensors import SafetensorError

    require_free(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise RevisionError(f"{path}: cannot be created: {error.strerror}; choose another --out") from None
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            path.rmdir()
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise RevisionError(f"{path}: cannot be written: {reason}; nothing was kept, make room and repeat") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def require_free(path: Path) -> None:
    """Raise RevisionError unless `path` does not exist or is an empty folder."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise RevisionError(f"{path}: already exists; choose another --out or delete it")


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
