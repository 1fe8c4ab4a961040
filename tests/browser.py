"""Debian's Chromium, driven by playwright, that reaches this machine alone."""

import contextlib
import os
import shutil
from urllib.parse import urlsplit

import pytest

VARIABLE = "REVISION_BROWSER"  # another browser's name or path
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync""".split()
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "")  # a file has no host, nor has data


@contextlib.contextmanager
def browser_page(width: int, height: int):
    """A page [pixels], which at the end has asked nobody beyond this machine and logged no error. Skips where
    no browser is there and none was named.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    browser = shutil.which(os.environ.get(VARIABLE, "chromium"))
    if browser is None:
        assert VARIABLE not in os.environ, f"{VARIABLE}: no such browser"
        pytest.skip(f"no chromium on the path; name a browser with {VARIABLE}")
    asked, errors = [], []
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        try:
            page = started.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(120_000)
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
            page.on("pageerror", lambda error: errors.append(str(error)))
            yield page
        finally:
            started.close()
    assert asked and not [url for url in asked if (urlsplit(url).hostname or "") not in LOOPBACK]
    assert not errors
