"""The one exception type for everything a user can put right."""

from __future__ import annotations


class RevisionError(Exception):
    """Bad input or a broken artefact: the message is one line that says what, where and what to do.

    The command line prints it and exits with status 2; a library caller catches it.
    """
