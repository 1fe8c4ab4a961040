"""Serves the page until it is told to stop."""

from __future__ import annotations

import ipaddress
import logging
import signal
import threading

import gradio as gr
from starlette.middleware import Middleware

from ..errors import RevisionError, first_line
from .own_requests import OwnRequestsAlone
from .uploads import MOST_BYTES

logger = logging.getLogger(__name__)
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")  # gradio's own are fetched from Google
MONO_FONTS = ("ui-monospace", "Consolas", "monospace")
CSS = """
.problem p {color: var(--error-text-color) !important}
#picture img {width: 100%; height: 100%; object-fit: contain}
.sight h3 {margin: 0 0 4px}
.sight table {border-collapse: collapse; width: 100%; margin: 0}
.sight table, .sight tr {border-style: none}
.sight td, .sight th {border-width: 0 0 1px 0; border-style: solid; border-bottom-color: var(--border-color-primary);
  padding: 4px 8px; text-align: left; vertical-align: top}
.sight tr > :first-child {text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; width: 1%}
"""


def is_loopback(host: str) -> bool:
    """Whether a server at `host` is reached from its own machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(page: gr.Blocks, *, host: str, port: int | None, share: bool) -> None:
    """Serve `page` until SIGINT or SIGTERM. Raises RevisionError where there is no listening at `host` and `port`, or
    no tunnel.
    """
    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _launch(page, host, port, share)
        while not stopped.wait(1):
            pass
    finally:
        page.close(verbose=False)
        for number, handler in before.items():
            signal.signal(number, handler)


def _launch(page: gr.Blocks, host: str, port: int | None, share: bool) -> None:
    if not is_loopback(host):
        logger.warning(
            "warning: --host %s: everyone who reaches this machine over the network can use the page; it asks for no "
            "password",
            host,
        )
    if share:
        logger.warning(
            "warning: --share: a tunnel through a server of gradio's makes the page public; everyone with the link can "
            "use it, and images and answers pass through that server"
        )
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=share,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,  # a traceback is for the terminal
            max_file_size=MOST_BYTES,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            app_kwargs={"middleware": [Middleware(OwnRequestsAlone)]},
            theme=gr.themes.Default(font=FONTS, font_mono=MONO_FONTS),
            css=CSS,
        )
    except (OSError, ValueError) as error:
        where = f"--host {host}" + (f" --port {port}" if port else "")
        raise RevisionError(f"{where}: cannot be listened on ({first_line(error)}); choose another") from None
    if share and not page.share_url:
        raise RevisionError("--share: the tunnel could not be opened; leave it out, and use the page on this machine")
    print(f"open {page.share_url or page.local_url} (Ctrl-C ends it)", flush=True)
