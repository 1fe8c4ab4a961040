"""A stand-in of the hub: its HTTP interface, as far as creating, committing, listing and downloading go.

It keeps what is uploaded in memory and serves it back at the commit; nothing leaves the machine. Large files go the way
of Git LFS, small ones ride in the commit, as at the hub; the upload by Xet is not spoken, so its clients run with
HF_HUB_DISABLE_XET=1. `fault` puts one answer in the place of another.

In a test take the fixture `hub` (conftest): `hub.environment` is for subprocesses, and the test's own process speaks to
it too (`hub.set_offline(True)` is its HF_HUB_OFFLINE). `hub.repositories["model", "me/aligner"].commits[oid]` is what
lies there, path -> bytes.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "a" * 30  # the one that may do everything
READ_TOKEN = "hf_" + "r" * 30  # sees, but does not write
LARGE = (".safetensors", ".arrow", ".bin")
API = re.compile(r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/(revision|preupload|commit|tree)/([^/]+))?")
RESOLVE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
BATCH = re.compile(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch")


@dataclass
class Repository:
    """Its commits in order, each with all its files, and who may see it."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def add(self, files: dict[str, bytes]) -> str:
        state = f"{len(self.commits)} {sorted((path, hashlib.sha1(data).hexdigest()) for path, data in files.items())}"
        oid = hashlib.sha1(state.encode()).hexdigest()
        self.commits[oid] = files
        return oid

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def commit(self, revision: str) -> str | None:
        return self.head if revision == "main" else revision if revision in self.commits else None


@dataclass
class Fault:
    """The answer `status` to requests whose 'METHOD path' matches `request`, `times` of them; as `cut` a file's first
    half alone, under a length that says so (`cut`="short") or not (`cut`="broken").
    """

    request: str
    status: int = 0
    times: int = 10**6
    cut: str = ""


class HubServer:
    """The server, on a free port of this machine, until `close`."""

    def __init__(self, cache: Path):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.closed = False
        self.set_offline: Callable[[bool], None] = lambda value: None  # for the test's own process: the fixture's
        self._cache = cache
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Be out of reach, also on connections that are open."""
        self.closed = True
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What a subprocess needs to speak to this server alone, with an empty cache of its own and the token."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(self._cache),
            "HF_HUB_CACHE": str(self._cache / "hub"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def files(self, kind: str, name: str) -> dict[str, bytes]:
        """What lies at the head of a repository."""
        repository = self.repositories[kind, name]
        return repository.commits[repository.head]

    def put(self, kind: str, name: str, files: dict[str, bytes], *, private: bool = True) -> str:
        """A repository, or a further commit of one, that holds these files; its commit."""
        repository = self.repositories.setdefault((kind, name), Repository(private))
        return repository.add(dict(files))

    @contextlib.contextmanager
    def fault(self, request: str, status: int = 0, **settings) -> Iterator[None]:
        """`Fault(...)`, while the block lasts."""
        injected = Fault(request, status, **settings)
        self.faults.append(injected)
        try:
            yield
        finally:
            self.faults.remove(injected)


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        pass

    # answers

    def _answer(self, status: int, value: object = None, headers: dict[str, str] | None = None) -> None:
        body = b"" if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, message: str, code: str = "") -> None:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self._answer(status, {"error": message}, headers)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    # requests

    def _handle(self) -> None:
        if self.hub.closed:
            self.close_connection = True
            return None
        body, path = self._body(), unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        self.cut = ""
        for fault in self.hub.faults:
            if fault.times > 0 and re.search(fault.request, f"{self.command} {path}"):
                fault.times -= 1
                if fault.status:
                    return self._refuse(fault.status, f"injected, and told back: {self.headers.get('Authorization')}")
                self.cut = fault.cut
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in (TOKEN, READ_TOKEN):
            return self._refuse(401, "Invalid credentials in Authorization header")
        self.may_see, self.may_write = bool(token), token == TOKEN
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if match := BATCH.fullmatch(path):
            return self._batch(json.loads(body)["objects"])
        if path.startswith("/large/") and self.command == "PUT":
            return self._take(path.removeprefix("/large/"), body)
        if match := RESOLVE.fullmatch(path):
            return self._file("dataset" if match[1] else "model", match[2], match[3], match[4])
        if match := API.fullmatch(path):
            return self._api(match[1], match[2], match[3] or "revision", match[4] or "main", body)
        return self._refuse(404, f"the stand-in knows no {self.command} {path}")

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _create(self, wanted: dict) -> None:
        if not self.may_write:
            return self._refuse(403, "You don't have the rights to create a repository under this namespace")
        kind, name = wanted.get("type") or "model", f"{wanted['organization']}/{wanted['name']}"
        url = {"url": f"{self.hub.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"}
        if (kind, name) in self.hub.repositories:
            return self._answer(409, {"error": "You already created this repo", **url})
        private = wanted.get("visibility") == "private" or wanted.get("private") is True
        self.hub.put(kind, name, {".gitattributes": b"*.arrow filter=lfs\n"}, private=private)
        return self._answer(200, url)

    def _seen(self, kind: str, name: str) -> Repository | None:
        """The repository, if there is one that this token may see; the hub does not tell which it is."""
        found = self.hub.repositories.get((kind, name))
        if found is None or (found.private and not self.may_see):
            self._refuse(404 if self.may_see else 401, "Repository not found", "RepoNotFound")
            return None
        return found

    def _api(self, kind: str, name: str, what: str, revision: str, body: bytes) -> None:
        repository = self._seen(kind, name)
        if repository is None:
            return
        oid = repository.commit(revision)
        if oid is None:
            return self._refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        files = repository.commits[oid]
        if what == "revision":
            siblings = [{"rfilename": path} for path in files]
            return self._answer(200, {"id": name, "sha": oid, "private": repository.private, "siblings": siblings})
        if what == "tree":
            return self._answer(200, [_entry(path, data) for path, data in files.items()])
        if not self.may_write:
            return self._refuse(403, "Forbidden: pass a token with write access")
        if what == "preupload":
            asked = json.loads(body)["files"]
            modes = [
                {
                    "path": each["path"],
                    "shouldIgnore": False,
                    "uploadMode": "lfs" if _is_large(each["path"]) else "regular",
                }
                for each in asked
            ]
            return self._answer(200, {"files": modes})
        return self._commit(repository, kind, name, [json.loads(line) for line in body.splitlines()])

    def _commit(self, repository: Repository, kind: str, name: str, lines: list[dict]) -> None:
        files = dict(repository.commits[repository.head])
        for line in lines:
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit") not in (None, repository.head):
                return self._refuse(412, "A commit has happened since. Please refresh and try again.")
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"].startswith("deleted"):
                files = {path: data for path, data in files.items() if not path.startswith(value["path"])}
        oid = repository.add(files)
        place = f"{self.hub.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"
        self._answer(200, {"success": True, "commitOid": oid, "commitUrl": f"{place}/commit/{oid}", "hookOutput": ""})

    def _batch(self, objects: list[dict]) -> None:
        if not self.may_write:
            return self._refuse(403, "Forbidden: pass a token with write access")
        upload = [
            {**each, "actions": {"upload": {"href": f"{self.hub.endpoint}/large/{each['oid']}"}}}
            if each["oid"] not in self.hub.large
            else each
            for each in objects
        ]
        return self._answer(200, {"transfer": "basic", "objects": upload})

    def _take(self, oid: str, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._refuse(400, "The content is not what its name says")
        self.hub.large[oid] = body
        return self._answer(200)

    def _file(self, kind: str, name: str, revision: str, path: str) -> None:
        repository = self._seen(kind, name)
        if repository is None:
            return
        oid = repository.commit(revision)
        if oid is None:
            return self._refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        data = repository.commits[oid].get(path)
        if data is None:
            return self._refuse(404, "Entry not found", "EntryNotFound")
        digest = hashlib.sha256(data).hexdigest() if _is_large(path) else _blob(data)
        headers = {"X-Repo-Commit": oid, "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first, status = (int(start[1]), 206) if start else (0, 200)
        if start:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        part = data[first:]
        if self.command == "GET" and self.cut == "short":
            part = part[: len(part) // 2]
        if self.command == "GET" and self.cut == "broken":
            self.send_response(status)
            for header, text in {**headers, "Content-Length": str(len(part)), "Connection": "close"}.items():
                self.send_header(header, text)
            self.end_headers()
            self.wfile.write(part[: len(part) // 2])
            self.close_connection = True
            return
        if self.command == "HEAD":
            headers["Content-Length"] = str(len(data))
        self._answer(status, part, headers)


def _is_large(path: str) -> bool:
    return path.endswith(LARGE)


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(path: str, data: bytes) -> dict:
    entry = {"type": "file", "path": path, "size": len(data), "oid": _blob(data)}
    if _is_large(path):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry
