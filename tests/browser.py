"""Debian's Chromium, driven by playwright: what the tests of pages and of the demo share."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAME = os.environ.get("REVISION_BROWSER")
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
PATIENCE = 120_000  # milliseconds: a machine may have more to do than this test
# no first steps, no updates, no measuring of the network: only what the test asks for
QUIET = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync""".split()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser for a `with`; skips the test where there is none and REVISION_BROWSER does not ask for one."""
    path = shutil.which(NAME or "chromium")
    if path is None:
        if NAME is None:
            pytest.skip("there is no chromium; install it, or name a browser in REVISION_BROWSER")
        pytest.fail(f"REVISION_BROWSER={NAME}: there is no such program")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page in the browser with all that it complained of, and what it asked the network or the disk for."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def beyond_this_machine(requests: list[str]) -> list[str]:
    """Those that went elsewhere: a file has no host, nor has data."""
    return [url for url in requests if (urlsplit(url).hostname or "") not in ("127.0.0.1", "localhost", "::1", "")]


def wait_until(page: Page, expression: str) -> None:
    """Wait until an expression of the page is true. Playwright's own way runs text as a script inside the page, which
    a page's content security policy may forbid.
    """
    end = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(50)


@contextlib.contextmanager
def open_page(browser: Browser, address: str, size: str = "desktop", *, dark: bool = False) -> Iterator[Watched]:
    """`address` opened at a size of `SIZES`; a phone has a finger in place of a mouse."""
    phone = size == "phone"
    context = browser.new_context(
        viewport=SIZES[size], color_scheme="dark" if dark else "light", has_touch=phone, is_mobile=phone
    )
    context.set_default_timeout(PATIENCE)
    watched = Watched(context.new_page())
    watched.page.on("console", lambda said: said.type == "error" and watched.errors.append(said.text))
    watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
    watched.page.on("request", lambda request: watched.requests.append(request.url))
    watched.page.goto(address)
    yield watched
    context.close()
