"""The one exception type for everything a user can put right, and what a command ends in."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

ERROR = "error: "  # before what a command ends in
CLOSED_PIPE = 141  # what a shell reports for a command whose reader went away


class RevisionError(Exception):
    """Bad input or a broken artefact: the message is one line that says what, where and what to do.

    The command line prints it and exits with status 2; a library caller catches it.
    """


class NotMeasurable(ValueError):
    """A metric has no value for these rows; the message says what it needs. Reports mark it and go on."""


def first_line(error: BaseException) -> str:
    """What a library's error says first; its type, where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def library_failures(says: str) -> Iterator[None]:
    """What a library raises at data that is cut, damaged or of another kind, as a RevisionError in one line."""
    try:
        yield
    except RevisionError:
        raise
    except Exception as error:  # some raise Exception itself
        raise RevisionError(f"{says} ({type(error).__name__}: {first_line(error)[:200]})") from error


def shown(text: object) -> str:
    """`text` on one line for a terminal: what does not print (control characters, halves of surrogate pairs, marks that
    turn the writing direction) as its escape, since names and ids come from data.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(text))


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def environment_line(error: OSError) -> str:
    """What a file, folder or device that failed under a command is reported as, with what to do."""
    if error.errno is None:  # of a library, about something else than a file
        return first_line(error)
    place = "the output" if error.filename is None else error.filename
    remedy = "mend that and repeat the command"
    if error.errno in FULL:
        remedy = "make room and repeat the command"
    elif error.errno in FORBIDDEN:
        remedy = "give the right to use it, or choose another place"
    return f"{place}: {error.strerror or error}; {remedy}"


@contextlib.contextmanager
def one_line(*, interrupted: str | None = None) -> Iterator[None]:
    """What a command runs in: a RevisionError ends it with one line and status 2, and so does what the machine refuses
    (a full disk, a missing right, no memory).

    With `interrupted` so does a KeyboardInterrupt, with that line and status 130; otherwise it goes its way. Where the
    reader of the output has gone, it ends in silence with the status of a broken pipe.
    """
    try:
        yield
        sys.stdout.flush()
    except RevisionError as error:
        _fail(str(error))
    except BrokenPipeError:
        _end_output()
        raise SystemExit(CLOSED_PIPE) from None
    except OSError as error:
        _fail(environment_line(error))
    except MemoryError:
        _fail("not enough memory; give smaller batches or a larger machine")
    except KeyboardInterrupt:
        if interrupted is None:
            raise
        _fail(f"interrupted; {interrupted}", 130)


def _fail(message: str, status: int = 2) -> None:
    _end_output()
    with contextlib.suppress(OSError):  # of a closed standard error: the status is all that can be told
        print(f"{ERROR}{shown(message)}", file=sys.stderr, flush=True)
    raise SystemExit(status) from None


def _end_output() -> None:
    """Write what standard output still holds, or drop what it cannot take: Python would try again at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
