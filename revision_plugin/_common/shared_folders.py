"""Folders that people share through the hub: `hf:OWNER/NAME@COMMIT` where a command takes a folder on disk.

Only a commit is taken: what a branch or a tag names can change under a run that has recorded it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import get_token, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..errors import RevisionError, environment_line, first_line

RepositoryType = Literal["model", "dataset"]
PREFIX = "hf:"
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class SharedKind:
    """What can be shared: its `noun`, the type of its repositories, and the `files` (patterns) that are read of one,
    the first of which every folder of the kind has.
    """

    noun: str
    repository: RepositoryType
    files: tuple[str, ...]


class HubError(RevisionError):
    """What the hub does not give, and why (`reason`)."""

    def __init__(self, where: object, reason: str):
        super().__init__(f"{where}: {reason}")
        self.reason = reason


def is_shared(path: str | Path) -> bool:
    """Whether `path` is the name of a folder in the hub rather than on disk."""
    return str(path).startswith(PREFIX)


def local_folder(path: str | Path, kind: SharedKind) -> Path:
    """`path`, or the folder in the hub's cache that holds what `hf:OWNER/NAME@COMMIT` names; HF_HUB_OFFLINE is
    respected.

    Nothing but the kind's own files is downloaded, and none of them is run or unpickled. Raises RevisionError for a
    name without a commit, for a repository that cannot be had, and for one that holds something else.
    """
    if not is_shared(path):
        return Path(path)
    name, commit = _parsed(path)
    with hub_failures(path, kind.repository):
        folder = Path(
            snapshot_download(name, repo_type=kind.repository, revision=commit, allow_patterns=list(kind.files))
        )
    if not (folder / kind.files[0]).is_file():
        raise RevisionError(f"{path}: holds no {kind.files[0]}, so is no {kind.noun}; give the name of one")
    return folder


def shown_name(path: Path) -> str:
    """What a folder is called where it is one of several: its last part, of a commit the first eight digits."""
    if not is_shared(path):
        return path.name
    name, _, commit = path.name.partition("@")
    return f"{name}@{commit[:8]}"


def _parsed(path: str | Path) -> tuple[str, str]:
    name, _, commit = str(path).removeprefix(PREFIX).partition("@")
    if not REPOSITORY.fullmatch(name) or not COMMIT.fullmatch(commit):
        raise RevisionError(
            f"{path}: names no commit in the hub; write {PREFIX}OWNER/NAME@COMMIT with all 40 digits (0-9, a-f) of a "
            "commit, since what a branch or a tag names can change unseen"
        )
    return name, commit


@contextlib.contextmanager
def hub_failures(where: object, repository: RepositoryType) -> Iterator[None]:
    """What the hub, the network or the cache's disk refuses, as a HubError in one line; no token is ever in it."""
    try:
        yield
    except RevisionError:
        raise
    except Exception as error:  # of an HTTP library that differs between versions of the hub's client
        reason, token = _reason(error, repository), get_token()
        raise HubError(where, reason.replace(token, "(token)") if token else reason) from None


def _reason(error: Exception, repository: str) -> str:
    chain = [error]
    while cause := chain[-1].__cause__:
        if not isinstance(cause, Exception) or cause in chain:
            break
        chain.append(cause)
    answered = next((each for each in chain if _status(each)), None)
    refused = next((each for each in chain if isinstance(each, HFValidationError)), None)
    on_disk = next((each for each in chain if isinstance(each, OSError) and each.errno and each.filename), None)
    if answered is not None:
        return _answer(answered, repository)
    if any(isinstance(each, OfflineModeIsEnabled) for each in chain):
        return "is not whole in the hub's cache, and HF_HUB_OFFLINE is set; unset it, or give a folder on disk"
    if refused is not None:
        return f"is no name that a repository can have ({first_line(refused)[:160]})"
    if on_disk is not None:
        return environment_line(on_disk)
    innermost = chain[-1]
    return (
        f"the hub cannot be reached, or broke off ({type(innermost).__name__}: {first_line(innermost)[:160]}); check "
        "the network and HF_ENDPOINT, and repeat the command"
    )


def _status(error: Exception) -> int:
    """The HTTP status that an error is about; 0 for none."""
    return getattr(getattr(error, "response", None), "status_code", None) or 0


def _answer(error: Exception, repository: str) -> str:
    """What an HTTP status means for who asked."""
    status = _status(error)
    if isinstance(error, RevisionNotFoundError):
        return f"the {repository} repository has no such commit; copy one from its history"
    if isinstance(error, GatedRepoError):
        return f"the {repository} repository is gated ({status}); ask its owner for access"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"the hub has no {repository} repository of that name, or none that you may see ({status}); check the "
            "name, and log in with 'hf auth login' where it is private"
        )
    if status == 401:
        return "the hub does not know the token (401); log in again with 'hf auth login', or mend HF_TOKEN"
    if status == 403:
        return "the hub forbids it (403); the token needs the right to do this in that repository"
    if status >= 500:
        return f"the hub has trouble of its own ({status}); repeat the command later"
    said = first_line(Exception(getattr(error, "server_message", None) or "no reason given"))[:160]
    return f"the hub refuses it ({status}: {said})"
