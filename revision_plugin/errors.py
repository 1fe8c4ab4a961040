"""The one exception type for everything a user can put right."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


class RevisionError(Exception):
    """Bad input or a broken artefact: the message is one line that says what, where and what to do.

    The command line prints it and exits with status 2; a library caller catches it.
    """


class NotMeasurable(ValueError):
    """A metric has no value for these rows; the message says what it needs. Reports mark it and go on."""


@contextlib.contextmanager
def one_line(*, interrupted: str | None = None) -> Iterator[None]:
    """What a command runs in: a RevisionError ends it with one line and status 2.

    With `interrupted` so does a KeyboardInterrupt, with that line and status 130; otherwise it goes its way.
    """
    try:
        yield
    except RevisionError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        if interrupted is None:
            raise
        print(f"error: interrupted; {interrupted}", file=sys.stderr)
        raise SystemExit(130) from None
