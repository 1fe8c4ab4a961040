"""Keeps a page's requests at the server that it came from."""

from __future__ import annotations

import json

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; frame-ancestors 'self'"
MOST_BODY = 2**18  # bytes of a request that is no upload
UPLOAD = "/upload"
REMOTE = ("http:", "https:")


class OwnRequestsAlone:
    """ASGI middleware: browsers load nothing from elsewhere (a content security policy), gradio's server fetches no
    file from the network for them, and requests are bounded (uploads by gradio's own limit).
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        refusal, replay = None, receive
        if "file=http" in scope["path"].lower():
            refusal = PlainTextResponse("only files of this page are given", 403)
        elif scope["method"] == "POST" and not scope["path"].endswith(UPLOAD):
            body = await _body(receive)
            if len(body) > MOST_BODY:
                refusal = PlainTextResponse(f"a request may have {MOST_BODY} bytes", 413)
            elif _names_remote_file(body):
                refusal = PlainTextResponse("only uploaded files are taken", 403)
            replay = _again(body, receive)
        await (refusal or self.app)(scope, replay, send_with_policy)


async def _body(receive: Receive) -> bytes:
    """The body of a request, or a little more than `MOST_BODY` of it."""
    body = b""
    while len(body) <= MOST_BODY:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """What gives the `body` that was read, and then what else comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _names_remote_file(body: bytes) -> bool:
    """Whether a JSON names a file by an address in its `path`; gradio would fetch it."""
    found = False

    def look(value: dict) -> dict:
        nonlocal found
        path = value.get("path")
        found = found or (isinstance(path, str) and path.strip().lower().startswith(REMOTE))
        return value

    try:
        json.loads(body, object_hook=look)
    except ValueError:
        return False  # no JSON, which gradio refuses
    except RecursionError:
        return True  # deeper than anything that the page sends
    return found
