"""The shards that files, folders and globs stand for, sorted, on disk or wherever fsspec reaches."""

from __future__ import annotations

import glob
import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import fsspec
from fsspec.core import url_to_fs
from huggingface_hub import HfApi
from huggingface_hub.constants import REPO_TYPES_URL_PREFIXES

from .._common.files import open_regular, parse_json
from ..errors import RevisionError, shown
from .locations import HUB, LOCAL, Shard, protocol_of, reading, require_protocol
from .texts import encodable

MAGIC = re.compile(r"[*?\[]")
VERSIONS = (
    "ETag etag blob_id xet_hash md5Hash generation LastModified last_modified mtime created".split()
)  # what file systems call that which changes with a file's content
DATASET, SPLITS = "state.json", "dataset_dict.json"  # of folders that datasets' `save_to_disk` wrote


@dataclass(frozen=True)
class Listing:
    """The shards that some names stand for, sorted by their parts; `named` says that each was named itself, not found
    in a folder or by a glob, `passed_over` are the files found that are no shards, and `twice` those that two of the
    names stand for.
    """

    shards: tuple[Shard, ...]
    named: bool
    passed_over: tuple[str, ...]
    twice: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """What one name stands for: the folder that parts are relative to, files by their paths with size and version;
    whether it is a file's own name or a glob, and which files it does not mean (`aside`): in a folder those behind a
    name that begins with a dot or an underscore, as of what is written still.
    """

    protocol: str
    root: str
    files: dict[str, tuple[int, str]]
    named: bool = False
    by_glob: bool = False
    aside: frozenset[str] = frozenset()


def list_shards(names: Sequence[str], suffixes: Sequence[str], glob_suffixes: Sequence[str]) -> Listing:
    """The files that `names` stand for. Of a folder those that end in one of `suffixes`, and whose names do not begin
    with a dot or an underscore; of a folder of `save_to_disk`, those its state names; of a glob, `glob_suffixes`.

    Raises RevisionError for what is not there, may not be read or needs a package that is not installed; for links that
    lead out of a folder; and for names of several file systems.
    """
    found = [_found(name) for name in names]
    protocols = sorted({each.protocol for each in found})
    if len(protocols) > 1:
        raise RevisionError(f"{names[0]}: one corpus lies in one file system, not in {' and '.join(protocols)}")
    protocol = protocols[0]
    root = os.path.commonpath([each.root for each in found]) if len(found) > 1 else found[0].root
    shards: dict[str, Shard] = {}
    passed_over: list[str] = []
    twice: list[str] = []
    for name, each in zip(names, found):
        kept = list(each.files) if each.named else _kept(name, each, glob_suffixes if each.by_glob else suffixes)
        passed_over += each.files.keys() - set(kept)
        for path in kept:
            part = posixpath.relpath(path, root)
            if not encodable(part):
                raise RevisionError(f"{shown(path)}: its name is not UTF-8; rename it")
            if path in shards:
                twice.append(path)
            size, version = each.files[path]
            shards[path] = Shard(part, protocol, path, size, version)
    ordered = sorted(shards.values(), key=lambda shard: shard.part)
    aside = tuple(sorted({*passed_over} - shards.keys()))
    return Listing(tuple(ordered), all(each.named for each in found), aside, tuple(sorted({*twice})))


def _kept(name: str, found: _Found, suffixes: Sequence[str]) -> list[str]:
    """The shards among files that were found in folders or by a glob."""
    states: dict[str, set[str]] = {}
    for path in found.files:
        folder, file = posixpath.split(path)
        if file == SPLITS and folder == found.root:
            splits = _read_json(found.protocol, path).get("splits")
            if isinstance(splits, list) and len(splits) > 1:
                raise RevisionError(
                    f"{name}: holds the splits {', '.join(map(str, splits))}; give the folder of one, such as "
                    f"{name.rstrip('/')}/{splits[0]}"
                )
        elif file == DATASET:
            listed = _read_json(found.protocol, path).get("_data_files")
            if isinstance(listed, list) and all(isinstance(each, dict) for each in listed):
                states[folder] = {str(each.get("filename")) for each in listed}
                missing = sorted(each for each in states[folder] if f"{folder}/{each}" not in found.files)
                if missing:
                    raise RevisionError(f"{path}: names {missing[0]}, which is missing; get the dataset again")
    kept = []
    for path in found.files:
        folder, file = posixpath.split(path)
        if path not in found.aside and file.lower().endswith(tuple(suffixes)) and file in states.get(folder, {file}):
            kept.append(path)
    return kept


def _read_json(protocol: str, path: str) -> dict:
    shard = Shard(path, protocol, path, 0, "")
    with shard.opened() as handle:
        value = parse_json(handle.read(2**24).decode("utf-8", "replace"), shard.name)
    return value if isinstance(value, dict) else {}


def _found(name: str) -> _Found:
    protocol, path = protocol_of(name)
    return _found_on_disk(path) if protocol == LOCAL else _found_elsewhere(name, protocol)


# on disk


def _found_on_disk(name: str) -> _Found:
    path = os.path.abspath(name)
    if os.path.isdir(path):
        files = _walk(path)
        return _Found(LOCAL, path, _states(path, files), aside=_hidden(path, files))
    if os.path.lexists(path) or not MAGIC.search(name):
        open_regular(Path(name)).close()
        return _Found(LOCAL, os.path.dirname(path), _states(None, [path]), named=True)
    root = _fixed(path)
    files, aside = [], frozenset[str]()
    for each in map(os.path.normpath, glob.glob(path, recursive=True)):
        inside = _walk(each) if os.path.isdir(each) else [each]
        aside |= _hidden(each, inside)
        files += inside
    if not files:
        raise RevisionError(f"{name}: no file matches; write the folder and the ending of its files")
    return _Found(LOCAL, root, _states(root, files), by_glob=True, aside=aside)


def _hidden(folder: str, files: Iterable[str]) -> frozenset[str]:
    """Which of the files below `folder` are behind a name that begins with a dot or an underscore."""
    names = ((path, path.removeprefix(folder).split("/")) for path in files)
    return frozenset(path for path, parts in names if any(part.startswith((".", "_")) for part in parts))


def _fixed(pattern: str) -> str:
    """The folder of a glob: what of it stands before the part with the first wildcard."""
    match = MAGIC.search(pattern)
    return pattern[: match.start() if match else None].rpartition("/")[0] or "/"


def _walk(folder: str) -> list[str]:
    files = []

    def unreadable(error: OSError) -> None:
        raise RevisionError(f"{error.filename}: the folder cannot be read: {error.strerror}") from None

    for place, subfolders, names in os.walk(folder, onerror=unreadable):
        for each in subfolders:
            if os.path.islink(os.path.join(place, each)):
                raise RevisionError(
                    f"{os.path.join(place, each)}: is a link to a folder, which is not followed; give that folder"
                )
        files += [os.path.join(place, each) for each in names]
    return files


def _states(root: str | None, files: list[str]) -> dict[str, tuple[int, str]]:
    """Size and time of change of each; nothing outside `root`, whatever links lead to it."""
    resolved = None if root is None else os.path.realpath(root)
    states = {}
    for path in files:
        target = os.path.realpath(path)
        if resolved is not None and os.path.commonpath([resolved, target]) != resolved:
            raise RevisionError(f"{path}: is a link that leads out of {root}; name the file itself, or copy it here")
        try:
            state = os.stat(path)
        except OSError as error:
            raise RevisionError(f"{path}: cannot be read: {error.strerror}") from None
        states[path] = (state.st_size, str(state.st_mtime_ns))
    return states


# elsewhere


def _found_elsewhere(name: str, protocol: str) -> _Found:
    require_protocol(name, protocol)
    with reading(name, protocol):
        system, path = url_to_fs(name)
        system.invalidate_cache()
        if protocol == HUB:
            path = pinned(system, path)
        path, aside = path.rstrip("/"), frozenset[str]()
        by_glob = MAGIC.search(path) is not None
        if by_glob:
            root = _fixed(path)
            matches = system.glob(path, detail=True)
            files: dict[str, dict] = {}
            for each, info in matches.items():
                inside = system.find(each, detail=True) if info.get("type") == "directory" else {each: info}
                aside |= _hidden(each, inside)
                files |= inside
            if not files:
                raise RevisionError(f"{name}: no file matches; write the folder and the ending of its files")
        elif system.isdir(path):
            root, files = path, system.find(path, detail=True)
            aside = _hidden(path, files)
        else:
            return _Found(protocol, posixpath.dirname(path), {path: _state(system.info(path))}, named=True)
    outside = [each for each in files if not each.startswith(f"{root.rstrip('/')}/")]
    if outside:
        raise RevisionError(f"{name}: lists {shown(outside[0])}, which does not lie in it")
    states = {path: _state(info) for path, info in files.items()}
    return _Found(protocol, root, states, by_glob=by_glob, aside=aside)


def _state(info: dict) -> tuple[int, str]:
    large = info.get("lfs")
    version = getattr(large, "sha256", None) or next((info[key] for key in VERSIONS if info.get(key)), "")
    return int(info.get("size") or 0), str(version)


def pinned(system: fsspec.AbstractFileSystem, path: str) -> str:
    """The path at the commit that its branch, its tag or nothing stands for now: all processes read that one."""
    resolved = system.resolve_path(path)
    if not hasattr(resolved, "repo_id"):  # a bucket, which has no commits
        return path
    info = HfApi().repo_info(resolved.repo_id, repo_type=resolved.repo_type, revision=resolved.revision)
    return f"{REPO_TYPES_URL_PREFIXES.get(resolved.repo_type, '')}{resolved.repo_id}@{info.sha}/{resolved.path_in_repo}"
