"""Uploads an exported folder to the hub, as one commit."""

from __future__ import annotations

import logging
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token

from .._common.shared_folders import PREFIX, REPOSITORY, HubError, RepositoryType, hub_failures
from ..errors import RevisionError

HUB_OWN = {".gitattributes"}  # which every new repository has
MESSAGE = "Upload with revision export"
logger = logging.getLogger(__name__)


def require_pushable(name: str) -> None:
    """Raise RevisionError unless `name` is OWNER/NAME and there is a token to upload with; asks nobody."""
    if not REPOSITORY.fullmatch(name):
        raise RevisionError(f"--push {name}: is no repository's name; write OWNER/NAME")
    if get_token() is None:
        raise RevisionError(
            f"--push {name}: there is no token to upload with; log in with 'hf auth login', or set HF_TOKEN"
        )


def push(folder: Path, name: str, *, kind: RepositoryType, public: bool) -> str:
    """Upload all files of `folder`, and nothing else, to the repository `name` (OWNER/NAME) of the type `kind`; give
    back `hf:OWNER/NAME@COMMIT`, by which the commands and training flags take it.

    The repository is made where there is none: private, unless `public`. In one that exists the upload is a new
    commit on its main branch. It is refused where it would mix with files that the folder does not have, and where
    the repository is public without `public`, or private with it: an upload neither publishes by accident nor changes
    who may see a repository. Raises RevisionError, in one line without the token, for all that the hub refuses.
    """
    require_pushable(name)
    files = _files(folder)
    where, api = f"--push {name}", HfApi()
    with hub_failures(where, kind):
        api.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
        state = api.repo_info(name, repo_type=kind)
        _require_same_visibility(where, is_private=bool(state.private), public=public)
        foreign = sorted({each.rfilename for each in getattr(state, "siblings", None) or ()} - files.keys() - HUB_OWN)
        if foreign:
            raise RevisionError(
                f"{where}: the repository holds {len(foreign)} file(s) that this upload has not, first '{foreign[0]}', "
                "and would mix with them; choose another name, or delete them there"
            )
        commit = api.create_commit(
            name,
            [CommitOperationAdd(path_in_repo=path, path_or_fileobj=file) for path, file in files.items()],
            commit_message=MESSAGE,
            repo_type=kind,
            parent_commit=state.sha,  # what was looked at is what is added to
        )
    return f"{PREFIX}{name}@{commit.oid}"


def _files(folder: Path) -> dict[str, Path]:
    """By path in the repository every file below `folder`. Raises RevisionError for links, which may lead elsewhere."""
    every = sorted(folder.rglob("*"))
    link = next((path for path in every if path.is_symlink()), None)
    if link is not None:
        raise RevisionError(
            f"{link}: is a link, and only files of {folder} itself are uploaded; put the file in its place"
        )
    return {path.relative_to(folder).as_posix(): path for path in every if path.is_file()}


def _require_same_visibility(where: str, *, is_private: bool, public: bool) -> None:
    if is_private and public:
        raise HubError(where, "the repository is private, and --public changes none that exists; leave --public out")
    if not is_private and not public:
        raise HubError(where, "the repository is public; give --public to upload there for all to see, or another name")
