"""A stand-in of S3 on this machine: moto's server behind a layer that is slow, fails, cuts or flips what it is told to.

`served()` starts one; s3fs finds it by the environment. `store.fault` puts other answers in the place of its own.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock
from urllib.request import Request, urlopen

import boto3
import fsspec
from fsspec.registry import _registry
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "bucket"
ERROR = b'<?xml version="1.0"?><Error><Code>%s</Code><Message>%s</Message></Error>'


@dataclass
class Trouble:
    """What happens to `times` requests whose 'METHOD path' matches: the answer `status` with its code, `seconds` of
    waiting, or a body of which a part is `kept` or whose middle byte is `flipped`.
    """

    request: str
    times: float = float("inf")
    status: int = 0
    code: bytes = b"SlowDown"
    seconds: float = 0.0
    kept: float = 1.0
    flipped: bool = False


class ObjectStore:
    """A WSGI application: moto's, and the troubles of its `fault`s. `requests` are those that came."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self.faults: list[Trouble] = []
        self.requests: list[str] = []

    def fault(self, request: str, **how) -> None:
        self.faults.append(Trouble(request, **how))

    def __call__(self, environ: dict, start_response: Callable) -> list[bytes]:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        self.requests.append(request)
        trouble = next((each for each in self.faults if each.times > 0 and re.search(each.request, request)), None)
        if trouble is None:
            return self._moto(environ, start_response)
        trouble.times -= 1
        time.sleep(trouble.seconds)
        if trouble.status:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            body = ERROR % (trouble.code, b"as it was told")
            start_response(f"{trouble.status} -", [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]  # a body there would begin the next answer
        answer: list = []
        body = b"".join(self._moto(environ, lambda status, headers, *rest: answer.extend((status, headers))))
        if trouble.flipped:
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
            answer[1] = [(name, value) for name, value in answer[1] if not name.lower().startswith("x-amz-checksum")]
        start_response(answer[0], answer[1])
        return [body[: int(len(body) * trouble.kept)]]

    def put(self, folder: Path, prefix: str) -> None:
        """Put a folder's files there."""
        for file in folder.iterdir():
            self.client.upload_file(str(file), BUCKET, f"{prefix}/{file.name}")

    @functools.cached_property
    def client(self):
        return boto3.client("s3")

    def names(self, prefix: str) -> set[str]:
        """The files below a prefix."""
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", [])
        return {each["Key"].removeprefix(f"{prefix}/") for each in found}


class Quiet(WSGIRequestHandler):
    def log_request(self, *arguments) -> None:
        pass


@contextlib.contextmanager
def served() -> Iterator[ObjectStore]:
    """One with an empty bucket, and this process' environment set to it; s3fs waits little between its tries."""
    store = ObjectStore()
    server = make_server("127.0.0.1", 0, store, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "2",
    }
    with mock.patch.dict(os.environ, variables):
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        try:
            reset = Request(f"{variables['AWS_ENDPOINT_URL']}/moto-api/reset", method="POST")
            urlopen(reset).close()
            store.client.create_bucket(Bucket=BUCKET)
            yield store
        finally:
            fsspec.get_filesystem_class("s3").clear_instance_cache()
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def without_s3fs() -> Iterator[None]:
    """As if s3fs were not installed."""
    kept = _registry.pop("s3", None)
    try:
        with mock.patch.dict("sys.modules", {"s3fs": None}):
            yield
    finally:
        if kept is not None:
            _registry["s3"] = kept
