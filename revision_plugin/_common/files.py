"""Files that appear whole or not at all, JSON reading with clear errors, and content hashes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ..errors import RevisionError

LOCAL_PATH = re.compile(r"(?:(?<=[:=])|^)[/~.][^?&]*")  # in a spec such as hf:/models/clip
END_BYTES = 2**20


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write in, which becomes `path` when the block ends and vanishes when it fails.

    It is on the disk, with its name, before this returns: a power loss leaves the old content or the new one. Nothing
    that lies in the temporary file's place is followed or emptied.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # of a process of this number that was killed
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Put a file's content, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        if not path.is_dir():
            os.fsync(handle)
        else:
            with contextlib.suppress(OSError):  # some network file systems cannot do it for folders
                os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8; a character that UTF-8 cannot hold is written as its escape."""
    with whole_file(path) as handle:
        handle.write(text.encode("utf-8", errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` so that `path` holds either its old content or all of the new one."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def usual_mode(path: Path) -> None:
    """Give a file or folder, and all in it, the rights that the user's umask says: some libraries keep what they write
    to its owner.
    """
    umask = os.umask(0o022)
    os.umask(umask)
    for each in [path, *(path.rglob("*") if path.is_dir() else ())]:
        if not each.is_symlink():
            each.chmod((0o777 if each.is_dir() else 0o666) & ~umask)


def read_json(path: Path) -> Any:
    """Parsed JSON. Raises RevisionError for what is no regular file, is cut, badly encoded, or no JSON that a value can
    be made of.
    """
    return parse_json(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a regular UTF-8 file. Raises RevisionError for anything else."""
    try:
        with open_regular(path) as handle:
            return handle.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise RevisionError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise RevisionError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """`read_json` of a file that must hold an object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise RevisionError(f"{path}: expected a JSON object, found {_kind(value)}")
    return value


def parse_json(text: str, where: str) -> Any:
    """The value of a JSON text. Raises RevisionError, naming `where`, for what is none, or nests too deep."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RevisionError(f"{where}: not valid JSON at line {error.lineno}: {error.msg}") from None
    except RecursionError:
        raise RevisionError(f"{where}: nests too deep for JSON that people write") from None
    except ValueError as error:  # a number of thousands of digits
        raise RevisionError(f"{where}: not usable JSON: {str(error).split(';')[0]}") from None


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else kinds.get(type(value), type(value).__name__)


def require_types(value: dict[str, Any], types: dict[str, Callable[[Any], bool]], where: str, remedy: str) -> None:
    """Raise RevisionError unless every key of `types` is in `value` and passes its check; all that is wrong at once."""
    missing = sorted(types.keys() - value.keys())
    wrong = sorted(name for name, check in types.items() if name in value and not check(value[name]))
    problems = [f"lacks {', '.join(missing)}"] if missing else []
    problems += [f"{', '.join(wrong)} cannot be what {'it says' if len(wrong) == 1 else 'they say'}"] if wrong else []
    if problems:
        raise RevisionError(f"{where}: {' and '.join(problems)}; {remedy}")


def is_count(value: object) -> bool:
    """Whether it is a whole number from 0, and no boolean."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def is_texts(value: object) -> bool:
    """Whether it is a list of texts."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def open_regular(path: Path) -> io.BufferedReader:
    """A regular file, opened to read: a pipe, a device or a folder is refused instead of waited for.

    Raises RevisionError for those, for a missing file and for one that may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise RevisionError(f"{path}: no such file") from None
    except ValueError:  # of a path with NUL in it
        raise RevisionError(f"{path}: is no path that a file can have") from None
    except OSError as error:
        raise RevisionError(f"{path}: cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RevisionError(f"{path}: is not a regular file")
    return os.fdopen(descriptor, "rb")


def require_regular(path: Path) -> None:
    """Raise RevisionError unless there is a regular file at `path` that may be read."""
    open_regular(path).close()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex. Raises RevisionError where it is no regular file, or may not be read."""
    try:
        with open_regular(path) as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise RevisionError(f"{path}: cannot be read: {error.strerror}") from None


def outline(paths: Iterable[Path], root: Path) -> dict[str, list]:
    """By path below `root` the size of each file and the SHA-256 of its two ends.

    For weights and optimizer states: hashing all of them would cost as much as the work they are for.
    """
    return {path.relative_to(root).as_posix(): [path.stat().st_size, _hash_ends(path)] for path in sorted(paths)}


def _hash_ends(path: Path) -> str:
    with open(path, "rb") as handle:
        digest = hashlib.sha256(handle.read(END_BYTES))
        handle.seek(max(path.stat().st_size - END_BYTES, 0))
        digest.update(handle.read(END_BYTES))
    return digest.hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def without_folders(text: str) -> str:
    """A path, or a spec that holds some, of which the last part alone is kept: for what other people read."""
    return LOCAL_PATH.sub(lambda found: Path(found[0]).name, text)
